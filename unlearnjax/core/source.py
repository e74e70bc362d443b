"""Data in memory: columns of equal length, seen through a selection of rows.

Selections share their columns, so the forget set, the retain set and the whole training set are three lists of row
numbers over one resident table: a new request moves no data and compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


class Examples:
  """A table of examples and the rows of it that are meant.

  Args:
    columns: arrays of equal first dimension N. An `"id"` column of int32, unique over the table, is made (0..N-1) when
      it is missing.
    rows: int[n] row numbers; all of them by default.

  Raises:
    ValueError: no mapping of columns, columns of unequal length, repeated ids, ids that are no int32 >= 0, or rows out
      of range.

  Example:
    >>> data = Examples({"x": np.zeros((4, 2), np.float32), "y": np.array([0, 1, 0, 1])})
    >>> [int(i) for i in data.where(data.column("y") == 1).ids]
    [1, 3]
  """

  def __init__(self, columns: Mapping[str, np.ndarray], rows: np.ndarray | None = None):
    if not isinstance(columns, Mapping) or not columns:
      got = "no column" if isinstance(columns, Mapping) else _what(columns)
      raise ValueError(f"columns must be a mapping {{name: array}} such as {{'x': x, 'y': y}}, got {got}")
    columns = {name: np.asarray(column) for name, column in columns.items()}
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) != 1:
      raise ValueError(f"columns must have one length, got {sizes}")
    total = next(iter(sizes.values()))
    if "id" not in columns:
      columns["id"] = np.arange(total, dtype=np.int32)
    ids = columns["id"]
    if ids.dtype != np.int32:
      if not np.issubdtype(ids.dtype, np.integer) or (ids.size and not 0 <= ids.min() <= ids.max() < 2**31):
        raise ValueError(f"the column 'id' must hold integers in [0, 2**31), got {ids.dtype} {ids[:3].tolist()}")
      columns["id"] = ids.astype(np.int32)
    if rows is None:
      if len(np.unique(columns["id"])) != total:
        raise ValueError("the column 'id' must be unique")
      rows = np.arange(total)
    rows = np.asarray(rows, np.int64)
    if rows.size and (rows.min() < 0 or rows.max() >= total):
      raise ValueError(f"rows must lie in [0, {total}), got {rows.min()}..{rows.max()}")
    self.columns: dict[str, np.ndarray] = columns
    self.rows = rows

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, index):
    """One example as a dict for an int, a selection for a slice or an array of positions."""
    if isinstance(index, (int, np.integer)):
      return {name: column[self.rows[index]] for name, column in self.columns.items()}
    return Examples(self.columns, self.rows[index])

  def __add__(self, other: Examples) -> Examples:
    """Union over the same table, in order; rows of both appear once."""
    if other.columns is not self.columns and any(other.columns.get(k) is not v for k, v in self.columns.items()):
      raise ValueError("only selections of one table can be added; use Examples.concatenate for different tables")
    fresh = other.rows[~np.isin(other.rows, self.rows)]
    return Examples(self.columns, np.concatenate([self.rows, fresh]))

  def __repr__(self) -> str:
    shapes = {name: f"{column.dtype}{list(column.shape[1:])}" for name, column in self.columns.items()}
    return f"Examples({len(self)} of {len(self.columns['id'])}, {shapes})"

  @property
  def ids(self) -> np.ndarray:
    return self.column("id")

  def column(self, name: str) -> np.ndarray:
    """The selected rows of a column."""
    return self.columns[name][self.rows]

  def where(self, mask: np.ndarray) -> Examples:
    """The rows for which `mask`, bool[n], is true."""
    mask = np.asarray(mask, bool)
    if mask.shape != self.rows.shape:
      raise ValueError(f"mask must have shape {self.rows.shape}, got {mask.shape}")
    return Examples(self.columns, self.rows[mask])

  def select(self, ids: Iterable[int]) -> Examples:
    """The rows with these ids, in the order given. Raises ValueError for ids that do not occur."""
    ids = np.asarray(list(ids) if not isinstance(ids, np.ndarray) else ids)
    order = np.argsort(self.ids, kind="stable")
    place = np.searchsorted(self.ids, ids, sorter=order) if len(self) else np.zeros(len(ids), int)
    place = order[np.minimum(place, len(order) - 1)] if len(self) else place
    missing = ids[self.ids[place] != ids] if len(self) else ids
    if len(missing):
      raise ValueError(f"ids that do not exist in the data: {missing[:5].tolist()} ({len(missing)} in all)")
    return Examples(self.columns, self.rows[place])

  def without(self, other: Examples) -> Examples:
    """The rows whose ids are not in `other`."""
    return self.where(~np.isin(self.ids, other.ids))

  def replace(self, **columns: np.ndarray) -> Examples:
    """The same selection with new values, [n, ...], in some columns; the other columns stay shared."""
    new = dict(self.columns)
    for name, values in columns.items():
      values = np.asarray(values)
      if len(values) != len(self):
        raise ValueError(f"column {name!r} must have {len(self)} rows, got {len(values)}")
      old = self.columns.get(name)
      fits = old is not None and old.shape[1:] == values.shape[1:] and np.can_cast(values.dtype, old.dtype, "same_kind")
      base = old.copy() if fits else np.zeros((len(self.columns["id"]), *values.shape[1:]), values.dtype)
      base[self.rows] = values
      new[name] = base
    return Examples(new, self.rows)

  @staticmethod
  def concatenate(*parts: Examples) -> Examples:
    """A new table of all rows of all parts, with the columns that all share; ids are renumbered when they clash."""
    names = set.intersection(*(set(p.columns) for p in parts))
    columns = {name: np.concatenate([p.column(name) for p in parts]) for name in sorted(names)}
    if len(np.unique(columns["id"])) != len(columns["id"]):
      columns["id"] = np.arange(len(columns["id"]), dtype=np.int32)
    return Examples(columns)


def _what(x) -> str:
  return type(x).__name__


def as_examples(source) -> Examples:
  """Reads any `Source` (something with `len` and `__getitem__` of dicts) into memory, once.

  Raises:
    TypeError: something that is no source, such as a bare array or a dict of columns.
    ValueError: a source without rows.
  """
  if isinstance(source, Examples):
    return source
  if isinstance(source, Mapping) or not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
    hint = ": wrap the columns, Examples(columns)" if isinstance(source, Mapping) else ""
    raise TypeError(f"a source must be Examples, or have a length and rows that are dicts, got {_what(source)}{hint}")
  rows = [source[i] for i in range(len(source))]
  if not rows:
    raise ValueError("the source is empty")
  if not isinstance(rows[0], Mapping):
    raise TypeError(f"the rows of a source must be dicts of arrays, got {_what(source)} of {_what(rows[0])}")
  return Examples({name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]})
