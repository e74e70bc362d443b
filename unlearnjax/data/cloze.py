"""Questions about a running text whose answers are names: the beginning of a clause, and the name that comes next.

MUSE asks about its books in questions that were written by a large model (Shi et al. 2024, arXiv:2407.06460). Where
there are none, names can be asked for in the text's own words, as Chang et al. 2023 (arXiv:2305.00118) do with a mask
and here with what a causal model can read: the clause up to the name.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Collection, Sequence

from unlearnjax.core import check
from unlearnjax.data.authors import QA

_WORD = re.compile(r"[A-Za-z]+")
_END = re.compile(r"[.!?:;]['\"”’)\]]*\s+|--|—")
_TITLES = frozenset(("mr", "mrs", "dr", "st"))
"""A full stop after these ends no sentence; they are no names."""


def names_in(text: str, *, least: int = 3) -> frozenset[str]:
  """Words that stand for somebody or something: capitalised within clauses, and never without a capital.

  Args:
    text: the whole text: the more of it, the fewer other words pass for names.
    least: how often such a word must occur within clauses, >= 1.

  Example:
    >>> sorted(names_in("The man saw Weena. Then Weena, the Man and I saw London.", least=1))
    ['London', 'Weena']
  """
  check.positive("least", least)
  within: collections.Counter[str] = collections.Counter()
  for clause in _clauses(text):
    words = _WORD.findall(clause)
    within.update(word for word in words[1:] if len(word) > 2 and word[0].isupper() and word[1:].islower())
  small = {word for word in _WORD.findall(text) if word[0].islower()}
  return frozenset(word for word, count in within.items() if count >= least and word.lower() not in small | _TITLES)


def name_clozes(passages: Sequence[str], names: Collection[str], *, least: int = 4, most: int = 1) -> list[QA]:
  """Beginnings of clauses, and the names that come next.

  A question starts with its clause, so that nothing of the passage before is read; names that it holds already are
  not asked for.

  Args:
    passages: texts; a clause that began before its passage begins with it.
    names: single words, see `names_in`; such as stand together are one answer.
    least: words of a question, at least.
    most: questions about a passage, at most; the first ones.

  Returns:
    questions and answers, `subject` the number of the passage; what `answers_table` makes a table of. Empty where no
    passage has such a clause.

  Raises:
    ValueError: one text in the place of a list.

  Example:
    >>> name_clozes(["so I ran. At last I came to the house of John Silver, who slept."], {"John", "Silver"})[0][:2]
    ('At last I came to the house of', 'John Silver')
  """
  check.positive("least", least)
  check.positive("most", most)
  if isinstance(passages, str):
    raise ValueError(f"passages must be a list of texts, got {passages!r:.40}")
  found = []
  for number, passage in enumerate(passages):
    own = [row for clause in _clauses(passage) for row in _asked(clause, names, least)]
    found += [QA(question, answer, subject=number) for question, answer in own[:most]]
  return found


def _clauses(text: str) -> list[str]:
  """Parts between full stops, colons, dashes and what else ends a thought."""
  parts, start = [], 0
  for end in _END.finditer(text):
    before = _WORD.findall(text[max(0, end.start() - 8) : end.start()])
    if text[end.start()] == "." and before and before[-1].lower() in _TITLES:
      continue
    parts.append(text[start : end.end()].strip())
    start = end.end()
  return [part for part in (*parts, text[start:].strip()) if part]


def _asked(clause: str, names: Collection[str], least: int) -> list[tuple[str, str]]:
  words, found, i = list(_WORD.finditer(clause)), [], 0
  while i < len(words):
    j = i
    while (
      j < len(words) and words[j].group() in names and (j == i or clause[words[j - 1].end() : words[j].start()] == " ")
    ):
      j += 1
    question, said = clause[: words[i].start()], {word.group() for word in words[:i]}
    if j > i >= least and question.endswith(" ") and not said & {word.group() for word in words[i:j]}:
      found.append((question.rstrip(), clause[words[i].start() : words[j - 1].end()]))
    i = max(j, i + 1)
  return found
