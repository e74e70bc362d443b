"""Whether a skill that was unlearned is gone beyond the examples. Zhang et al. 2024, arXiv:2409.02228 (paper 144)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from unlearnjax.core import check
from unlearnjax.metrics import inputs


def forget_gap(after: Any, *, chance: float = 0.5) -> np.ndarray:
  """Accuracy above chance after unlearning, after - chance; 0 forgot the skill, below 0 it answers wrongly on purpose.

  On the examples that were trained with random labels it is near 0 whatever happened: take it on unseen ones.

  Args:
    after: accuracies in [0, 1], any shape.
    chance: what guessing gets, 0.5 for two choices.

  Example:
    >>> float(forget_gap(0.5)), float(forget_gap([0.75])[0])
    (0.0, 0.25)
  """
  check.fraction("chance", chance, one=False)
  inputs.unit_interval("after", np.ravel(after))
  return np.asarray(after, np.float64) - chance


def forget_ratio(
  before: Any, after: Any, *, chance: float = 0.5, labels: str = "random", least: float = 0.05
) -> np.ndarray:
  """Share of a skill that is gone: (before - after) / (before - chance); 1 all of it, 0 none.

  The cross-task matrix is `forget_ratio(before[J], after[I, J])`: entry (i, j) is what unlearning task i took of j.

  Args:
    before: accuracies in [0, 1] before unlearning.
    after: those after, of a shape that broadcasts against `before`.
    chance: what guessing gets.
    labels: "random", or "flipped" where the wrong labels were trained: the goal is then 1 - before.
    least: where `before` is less than this above the goal there is no skill to lose, and the ratio is NaN.

  Example:
    >>> forget_ratio([0.9, 0.9, 0.5], [0.5, 0.9, 0.5]).tolist()
    [1.0, 0.0, nan]
    >>> float(forget_ratio(0.75, 0.25, labels="flipped"))
    1.0
  """
  check.one_of("labels", labels, ("random", "flipped"))
  check.positive("least", least)
  check.fraction("chance", chance, one=False)
  for name, values in (("before", before), ("after", after)):
    inputs.unit_interval(name, np.ravel(values))
  before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
  skill = before - (chance if labels == "random" else 1 - before)
  known = skill >= least
  return np.where(known, (before - after) / np.where(known, skill, 1.0), np.nan)


class TwoWay(NamedTuple):
  """Shares of the variance of a matrix, each in [0, 1]; they add up to 1, or are all NaN for a constant one.

  Attributes:
    rows: what the row says, e.g. the task that was unlearned.
    columns: what the column says, e.g. the task that is measured.
    rest: what only both together say.
  """

  rows: float
  columns: float
  rest: float


def two_way(matrix: Any) -> TwoWay:
  """Whether rows or columns decide the entries: variance of row means, of column means, and the rest.

  Of the cross-task matrix of ratios: the paper finds that the measured task decides, not the unlearned one.

  Args:
    matrix: f[I, J]; columns with an entry that is not finite are left out.

  Raises:
    ValueError: no matrix, or no column whose entries are all finite.

  Example:
    >>> two_way([[1.0, 0.0], [1.0, 0.0]])
    TwoWay(rows=0.0, columns=1.0, rest=0.0)
  """
  matrix = np.asarray(matrix, np.float64)
  if matrix.ndim != 2:
    raise ValueError(f"matrix must be [I, J], got shape {matrix.shape}")
  matrix = matrix[:, np.isfinite(matrix).all(0)]
  if not matrix.size:
    raise ValueError("matrix must have a column whose entries are all finite")
  total = matrix.var()
  if total == 0:
    return TwoWay(*[float("nan")] * 3)
  rows, columns = float(matrix.mean(1).var() / total), float(matrix.mean(0).var() / total)
  return TwoWay(rows, columns, max(0.0, 1 - rows - columns))
