"""What a service knows, what it was told to forget, and where the examples are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from unlearnjax.core import Examples

NO_IDS = np.zeros(0, np.int64)


class Holdings:
  """All data that a service was given, and which of it is live: learned and not forgotten.

  Attributes:
    data: every example that was ever given, None before the first.
    live, gone: sorted ids of what is known, and of what was forgotten and not learned again.
  """

  def __init__(self):
    self.data: Examples | None = None
    self.live, self.gone = NO_IDS, NO_IDS

  def add(self, source: Examples, what: str) -> None:
    """Takes in the examples of a task; those that are there already must be the same.

    Raises:
      ValueError: an id that stands for another example.
    """
    if self.data is None:
      self.data = source
      return
    try:
      self.data = self.data + source
      return
    except ValueError:  # another table
      pass
    known = np.isin(source.ids, self.data.ids)
    again, fresh = source.where(known), source.where(~known)
    if len(again):
      before = self.data.select(again.ids)
      columns = before.columns.keys() & again.columns.keys()
      if not all(np.array_equal(before.column(c), again.column(c)) for c in columns):
        raise ValueError(
          f"{what} has ids that stand for other examples of an earlier task, among them {again.ids[:5].tolist()}: ids "
          "must be unique over all tasks of a service"
        )
    if len(fresh):
      self.data = Examples.concatenate(self.data, fresh)

  def learn(self, ids: Iterable[int]) -> None:
    ids = unique(ids)
    self.live, self.gone = np.union1d(self.live, ids), np.setdiff1d(self.gone, ids)

  def forget(self, ids: Iterable[int]) -> None:
    ids = np.intersect1d(unique(ids), self.live)
    self.live, self.gone = np.setdiff1d(self.live, ids), np.union1d(self.gone, ids)

  def split(self, ids: Iterable[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids that are live, that were forgotten before, and that were never learned."""
    ids = unique(ids)
    live, gone = np.isin(ids, self.live), np.isin(ids, self.gone)
    return ids[live], ids[gone], ids[~live & ~gone]

  def known(self, without: np.ndarray = NO_IDS) -> Examples | None:
    """The live examples; None where there are none."""
    ids = np.setdiff1d(self.live, without)
    return self.select(ids) if len(ids) else None

  def select(self, ids: np.ndarray) -> Examples:
    """Examples in the order of their ids, whatever the order in which they came."""
    return self.data.select(np.sort(ids))


def unique(ids: Iterable[int]) -> np.ndarray:
  """Sorted ids without repetitions."""
  return np.unique(np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64))
