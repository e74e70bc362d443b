"""How much utility is left on the way to deletion. Patil et al. 2025, arXiv:2502.15082 (paper 38, UPCORE)."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearnjax.metrics import inputs


def deletion_utility_auc(deletion: Any, utility: Any, *, interval: tuple[float, float] | None = None) -> float:
  """Area under utility against deletion over checkpoints of one unlearning run; higher is better.

  The trapezoid rule over the points sorted by deletion, of which equal ones count with their mean utility. The paper
  takes deletion = 1 - ROUGE on the whole forget set, utility = ROUGE on a neighbourhood or the model utility, and about
  ten checkpoints. Without an interval the area is that over the range that was observed, so that a method that deletes
  more gets more area: to compare methods give a common interval, see `common_interval`. Divided by its width, the area
  is the mean utility.

  Args:
    deletion: f[N] how much is gone at each checkpoint, in any order.
    utility: f[N].
    interval: (low, high) within the observed range; utility is interpolated linearly at its ends.

  Raises:
    ValueError: fewer than two different deletions, arrays that do not fit or are not finite, an interval that is empty
      or reaches beyond what was observed.

  Example:
    >>> deletion_utility_auc([0.0, 1.0, 0.5], [1.0, 0.0, 1.0])
    0.75
    >>> deletion_utility_auc([0.0, 1.0, 0.5], [1.0, 0.0, 1.0], interval=(0.5, 0.75))
    0.1875
  """
  x, y = _curve(deletion, utility)
  if interval is not None:
    low, high = map(float, interval)
    if not x[0] <= low < high <= x[-1]:
      raise ValueError(f"interval must be low < high within the observed [{x[0]:g}, {x[-1]:g}], got {interval}")
    inside = (x > low) & (x < high)
    y = np.concatenate([[np.interp(low, x, y)], y[inside], [np.interp(high, x, y)]])
    x = np.concatenate([[low], x[inside], [high]])
  return float(np.trapezoid(y, x))


def common_interval(*deletions: Any) -> tuple[float, float]:
  """The interval of deletion that all runs passed through: the largest minimum and the smallest maximum.

  Raises:
    ValueError: no run, or runs without a common interval.

  Example:
    >>> common_interval([0.0, 0.8], [0.1, 0.5, 0.9])
    (0.1, 0.8)
  """
  if not deletions:
    raise ValueError("deletions must hold at least one run, got none")
  runs = [inputs.host_vector(f"deletions[{i}]", x) for i, x in enumerate(deletions)]
  low, high = max(float(x.min()) for x in runs), min(float(x.max()) for x in runs)
  if low >= high:
    raise ValueError(f"the runs have no interval of deletion in common: {low:g} is reached last, {high:g} left first")
  return low, high


def _curve(deletion: Any, utility: Any) -> tuple[np.ndarray, np.ndarray]:
  """Rising deletions without repeats, and the mean utility at each."""
  x, y = inputs.host_vector("deletion", deletion), inputs.host_vector("utility", utility)
  if len(x) != len(y):
    raise ValueError(f"deletion and utility must have one length, got {len(x)} and {len(y)}")
  different, place, count = np.unique(x, return_inverse=True, return_counts=True)
  if len(different) < 2:
    raise ValueError(f"deletion must take at least two values, got {different.tolist()}")
  return different, np.bincount(place, y) / count
