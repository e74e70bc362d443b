"""What readers make of files: columns of two splits, in the published order."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
  """Columns by name ("x", "y", "id", "coarse" where rows come in groups) of both splits, and names of labels."""

  train: dict[str, np.ndarray]
  test: dict[str, np.ndarray]
  classes: tuple[str, ...] = ()
  coarse_classes: tuple[str, ...] = ()


def class_ranks(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """int[n]: the place of every row in a random order of its own class."""
  order, ranks = rng.permutation(len(y)), np.empty(len(y), np.int64)
  for label in np.unique(y):
    rows = order[y[order] == label]
    ranks[rows] = np.arange(len(rows))
  return ranks


def split_rows(columns: Mapping[str, np.ndarray], test: np.ndarray, **names) -> Table:
  """A table whose test split are the rows that bool[n] says; ids are row numbers."""
  columns = {**columns, "id": np.arange(len(test), dtype=np.int32)}
  return Table({k: v[~test] for k, v in columns.items()}, {k: v[test] for k, v in columns.items()}, **names)


def fifth(count: int) -> np.ndarray:
  """bool[count]: a fixed random fifth."""
  test = np.zeros(count, bool)
  test[np.random.default_rng(0).permutation(count)[: round(0.2 * count)]] = True
  return test


def arrays_of(path: pathlib.Path, *names: str) -> list[np.ndarray]:
  """Arrays of an .npz file; ValueError for those that it lacks."""
  with np.load(path) as archive:
    missing = [name for name in names if name not in archive.files]
    if missing:
      raise ValueError(f"{path} must hold the arrays {', '.join(names)}; {missing} are missing, found {archive.files}")
    return [archive[name] for name in names]


def columns_of(x: np.ndarray, y: np.ndarray, **more: np.ndarray) -> dict[str, np.ndarray]:
  """The columns of one split, labels as int32."""
  labels = {name: column.astype(np.int32) for name, column in {"y": y, **more}.items()}
  return {"x": x, **labels, "id": np.arange(len(y), dtype=np.int32)}
