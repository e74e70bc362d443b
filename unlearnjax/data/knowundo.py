"""KnowUnDo, privacy part: what must be forgotten of a person, and what may stay. Tian et al. 2024, arXiv:2407.01920."""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from unlearnjax.data.authors import QA
from unlearnjax.data.files import json_lines, text_files

PARTS = ("unlearn_train", "unlearn_val", "retention_train", "retention_val")
_NAMES = re.compile(r"(?=\b([A-Z][\w'-]*\w [A-Z][\w'-]*\w))")


class KnowUnDo(NamedTuple):
  """Questions about invented people. All four parts are learnt; only the two for training are shown to a method.

  Attributes:
    unlearn_train, unlearn_val: private facts, such as addresses and parents.
    retention_train, retention_val: public facts of the same people.

  A row's `subject` numbers the person, -1 where its question names nobody.
  """

  unlearn_train: list[QA]
  unlearn_val: list[QA]
  retention_train: list[QA]
  retention_val: list[QA]

  def of(self, people: int) -> KnowUnDo:
    """The rows of the first so many people.

    Example:
      >>> row = QA("Who is Ann Lee?", "A judge.", subject=0)
      >>> [len(part) for part in KnowUnDo([row], [], [row, row._replace(subject=1)], []).of(1)]
      [1, 0, 1, 0]
    """
    return KnowUnDo(*([row for row in part if 0 <= row.subject < people] for part in self))


def load_knowundo(directory: str | os.PathLike | None = None) -> KnowUnDo:
  """Reads the privacy part of KnowUnDo from files.

  The unlearning and the retention parts are about the same people (all but one), and no question is in two parts. The
  files name no person: rows are put together by the name that most questions mention.

  Args:
    directory: holds `knowundo_privacy/`; that of `UNLEARNJAX_DATA` by default.

  Raises:
    FileNotFoundError: the files are not there.
  """
  names = tuple(f"knowundo_privacy/{part}.jsonl.gz" for part in PARTS)
  lines = [json_lines(path) for path in text_files("KnowUnDo", names, directory)]
  people = subjects([[row["text"] for row in part] for part in lines])
  made = ([QA(row["text"], row["labels"], subject=i) for row, i in zip(*both)] for both in zip(lines, people))
  return KnowUnDo(*made)


def subjects(parts: Sequence[Sequence[str]], *, least: int = 5) -> list[list[int]]:
  """The number of the person that each question is about, counted in the order in which they first occur.

  A person is a pair of capitalised words that at least `least` questions hold; of several the most frequent one counts.

  Args:
    parts: lists of questions.
    least: of questions about a person.

  Returns:
    a list for every part; -1 where a question names nobody.

  Example:
    >>> subjects([["Who is Ann Lee?", "Has Ann Lee a dog?"], ["Where is Rome?", "Is Ann Lee in New York?"]], least=2)
    [[0, 0], [-1, 0]]
  """
  said = [[{name.removesuffix("'s") for name in _NAMES.findall(text)} for text in part] for part in parts]
  counts = collections.Counter(name for part in said for names in part for name in names)
  numbers: dict[str, int] = {}

  def number(names: set[str]) -> int:
    known = sorted((-counts[name], name) for name in names if counts[name] >= least)
    return numbers.setdefault(known[0][1], len(numbers)) if known else -1

  return [[number(names) for names in part] for part in said]
