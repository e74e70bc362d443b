"""Filters and prefixes around a function from questions to answers: the baselines that need no training.

Thaker et al. 2024, arXiv:2403.03329 (paper 50). They work on texts, so that what needs logits (probabilities, truth
ratios) cannot be measured through them, and whoever has the weights is not stopped by them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from unlearnjax.core import check

Answerer = Callable[[str], str]


def mentions(names: Iterable[str]) -> Callable[[str], bool]:
  """Whether a text holds one of some names, as whole words, whatever the case. Aliases and paraphrases pass.

  Raises:
    ValueError: no names, or an empty one, which every text would hold.

  Example:
    >>> known = mentions(["Ann Lee"])
    >>> known("Who is ann  lee?"), known("Who is Ann Leeds?")
    (True, False)
  """
  names = list(names)
  if not names or not all(name.split() for name in names):
    raise ValueError(f"names must be at least one, none of them empty; got {names}")
  words = (r"\s+".join(map(re.escape, name.split())) for name in names)
  pattern = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)
  return lambda text: pattern.search(text) is not None


def filtered(
  answer: Answerer, flagged: Callable[[str], bool], *, reads: str = "both", refusal: str = "I do not know."
) -> Answerer:
  """Refuses where the question or the answer is flagged; a flagged question does not reach the model.

  Args:
    answer: text to text.
    flagged: text to bool: `mentions(names)`, a classifier, another model.
    reads: "question", "answer" or "both".
    refusal: what is said instead; it should not be flagged itself, so that a filter of a filter changes nothing.

  Example:
    >>> said = filtered(lambda question: "Ann Lee wrote it.", mentions(["Ann Lee"]))
    >>> said("Who wrote it?")
    'I do not know.'
  """
  check.one_of("reads", reads, ("question", "answer", "both"))

  def guarded(question: str) -> str:
    if reads != "answer" and flagged(question):
      return refusal
    said = answer(question)
    return refusal if reads != "question" and flagged(said) else said

  return guarded


def prefixed(answer: Answerer, instruction: str) -> Answerer:
  """Puts an instruction before every question, e.g. to answer as if some names were unknown.

  Example:
    >>> prefixed(str.upper, "be brief.")("who?")
    'BE BRIEF. WHO?'
  """
  return lambda question: answer(f"{instruction} {question}")
