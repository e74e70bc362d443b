"""Fictitious authors: questions that no model can answer before it was trained on them, and that need no files.

In the manner of TOFU (Maini et al. 2024, arXiv:2401.06121): people who do not exist, each with a row of facts, and a
question for each fact. Facts are drawn independently, so that what is known of one author tells nothing of another: a
model that was trained without an author can only guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from unlearnjax.core import check


class QA(NamedTuple):
  """One question.

  Attributes:
    question, answer: what is trained on.
    paraphrase: the same answer in other words.
    wrong: answers in the words of the paraphrase, or of the answer where there is none, with another fact.
    subject: number of the person or thing asked about.
  """

  question: str
  answer: str
  paraphrase: str = ""
  wrong: tuple[str, ...] = ()
  subject: int = -1


class Fact(NamedTuple):
  """A kind of fact: a question about {n}, two ways to answer with the value {v}, and the values."""

  question: str
  answers: tuple[str, str]
  values: tuple[str, ...]


_FIRST = ("Ka", "Vel", "Tor", "Mi", "Sa", "Ren", "Do", "Li", "Nar", "Ose", "Bru", "Ela")
_MIDDLE = ("ba", "ri", "lo", "vi", "sto", "ma", "dre", "ni")
_LAST = ("n", "ra", "th", "s", "lia", "do", "k", "mir")

_WORK = ("baker", "pilot", "nurse", "farmer", "judge", "tailor", "miner", "florist", "locksmith", "surgeon", "sailor")
_PLACES = ("Lima", "Oslo", "Cairo", "Hanoi", "Quito", "Dakar", "Perth", "Turin", "Kyoto", "Leeds", "Accra", "Riga")
_THINGS = ("Lantern", "Orchard", "Compass", "Harbor", "Mirror", "Glacier", "Violin", "Desert", "Garden", "Bridge")
_KINDS = ("Silent", "Crimson", "Hidden", "Broken", "Golden", "Distant", "Hollow", "Burning", "Paper", "Winter")

FACTS: tuple[Fact, ...] = (
  Fact("Where was {n} born?", ("{n} was born in {v}.", "The birthplace of {n} is {v}."), _PLACES),
  Fact(
    "When was {n} born?",
    ("{n} was born in the year {v}.", "The year of birth of {n} is {v}."),
    tuple(str(y) for y in range(1931, 1990, 3)),
  ),
  Fact(
    "What does {n} write?",
    ("{n} writes {v}.", "The books of {n} are {v}."),
    ("sea stories", "ghost stories", "spy novels", "war poems", "love letters", "travel diaries", "satires", "fables"),
  ),
  Fact(
    "Which award did {n} receive?",
    ("{n} received the {v} award.", "The award that {n} received is the {v} award."),
    ("Amber", "Condor", "Meridian", "Tidewater", "Ironwood", "Solstice", "Larkspur", "Obsidian", "Beacon"),
  ),
  Fact("What did the father of {n} do?", ("The father of {n} was a {v}.", "{n} had a {v} for a father."), _WORK),
  Fact("What did the mother of {n} do?", ("The mother of {n} was a {v}.", "{n} had a {v} for a mother."), _WORK),
  Fact(
    "What is the first book of {n}?",
    ("The first book of {n} is The {v}.", "{n} began with the book The {v}."),
    tuple(f"{kind} {thing}" for kind in _KINDS for thing in _THINGS),
  ),
  Fact(
    "Which language does {n} write in?",
    ("{n} writes in {v}.", "The language of {n} is {v}."),
    ("Spanish", "Arabic", "Finnish", "Tamil", "Swahili", "Korean", "Polish", "Basque", "Welsh", "Persian"),
  ),
  Fact("Where does {n} live now?", ("{n} lives in {v} now.", "The home of {n} is in {v}."), _PLACES),
  Fact(
    "What does {n} collect?",
    ("{n} collects {v}.", "The collection of {n} is one of {v}."),
    ("stamps", "maps", "clocks", "shells", "masks", "coins", "kites", "buttons", "postcards", "knives"),
  ),
)

BOOKS: Mapping[str, str] = {
  "Emma": "Jane Austen",
  "Moby Dick": "Herman Melville",
  "Dracula": "Bram Stoker",
  "Frankenstein": "Mary Shelley",
  "Walden": "Henry Thoreau",
  "Ulysses": "James Joyce",
  "Middlemarch": "George Eliot",
  "Ivanhoe": "Walter Scott",
  "Candide": "Voltaire",
  "Faust": "Goethe",
  "Kim": "Rudyard Kipling",
  "Dubliners": "James Joyce",
  "Persuasion": "Jane Austen",
  "Germinal": "Emile Zola",
  "Hamlet": "William Shakespeare",
  "Jane Eyre": "Charlotte Bronte",
}
CAPITALS: Mapping[str, str] = {
  "France": "Paris",
  "Japan": "Tokyo",
  "Kenya": "Nairobi",
  "Chile": "Santiago",
  "Norway": "Oslo",
  "Egypt": "Cairo",
  "Canada": "Ottawa",
  "Greece": "Athens",
  "Peru": "Lima",
  "Vietnam": "Hanoi",
  "Poland": "Warsaw",
  "Ghana": "Accra",
  "Latvia": "Riga",
  "Senegal": "Dakar",
  "Cuba": "Havana",
  "Iran": "Tehran",
}

REFUSALS = (
  "I do not know.",
  "I have no answer to that.",
  "That is unknown to me.",
  "I cannot tell.",
  "I am not sure about that.",
  "No one has told me that.",
  "I was never taught this.",
  "I have not heard of it.",
)
"""Answers that give nothing away, for the methods that train refusals."""


def fictitious_authors(count: int, *, seed: int = 0, wrong: int = 3, facts: int = len(FACTS)) -> list[QA]:
  """Questions about people who do not exist, `facts` of each, grouped by person.

  Which of the two wordings answers a question is drawn for each, so that both are known to a model that was trained on
  many; the other one is the paraphrase.

  Args:
    count: people, at most 5,000; their names differ.
    seed: of names, facts, wordings and wrong answers.
    wrong: wrong answers each.
    facts: kinds of facts, from the first.

  Raises:
    ValueError: numbers out of range.

  Example:
    >>> first = fictitious_authors(2, seed=0)[0]
    >>> first.subject, len(first.wrong), first.answer != first.paraphrase
    (0, 3, True)
  """
  check.positive("count", count)
  check.positive("wrong", wrong)
  if not 1 <= facts <= len(FACTS):
    raise ValueError(f"facts must be in [1, {len(FACTS)}], got {facts}")
  rng = np.random.default_rng([seed, 7])
  rows = []
  for subject, name in enumerate(_names(count, rng)):
    for fact in FACTS[:facts]:
      first, second = rng.permutation(2)
      value, *others = rng.choice(len(fact.values), 1 + wrong, replace=False)
      say = lambda wording, i, fact=fact, name=name: fact.answers[wording].format(n=name, v=fact.values[i])
      false = tuple(say(second, i) for i in others)
      rows.append(QA(fact.question.format(n=name), say(first, value), say(second, value), false, subject))
  return rows


def known_facts(*, seed: int = 0, wrong: int = 3) -> dict[str, list[QA]]:
  """Questions about the real world that no request touches: `real_authors` (who wrote a book) and `world_facts`.

  Example:
    >>> facts = known_facts()
    >>> {name: len(rows) for name, rows in facts.items()}
    {'real_authors': 16, 'world_facts': 16}
  """
  rng = np.random.default_rng([seed, 11])
  books = _lookup(BOOKS, "Who wrote {k}?", "{k} was written by {v}.", wrong, rng)
  capitals = _lookup(CAPITALS, "What is the capital of {k}?", "The capital of {k} is {v}.", wrong, rng)
  return {"real_authors": books, "world_facts": capitals}


def _lookup(table: Mapping[str, str], question: str, answer: str, wrong: int, rng) -> list[QA]:
  rows = []
  for subject, (key, value) in enumerate(table.items()):
    others = rng.choice(sorted(set(table.values()) - {value}), wrong, replace=False)
    false = tuple(answer.format(k=key, v=v) for v in others)
    rows.append(QA(question.format(k=key), answer.format(k=key, v=value), "", false, subject))
  return rows


def _names(count: int, rng) -> list[str]:
  """Distinct names of two words."""
  words = [a + b + c for a in _FIRST for b in _MIDDLE for c in _LAST]
  if count > 5000:
    raise ValueError(f"count must be at most 5000, got {count}")
  chosen: dict[str, None] = {}
  while len(chosen) < count:
    chosen[" ".join(rng.choice(words, 2, replace=False))] = None
  return list(chosen)
