"""Continual learning all the time: metrics of the curve of accuracies while tasks are being learned.

`curve[m, j]` in [0, 1] is the accuracy on task j at evaluation m, `task[m]` the index (from 0) of the task that is
being learned then. De Lange et al., ICLR 2023, arXiv:2205.13452.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearnjax.core import check
from unlearnjax.metrics import inputs


def average_anytime_accuracy(curve: Any, task: Any) -> float:
  """AAA: mean over evaluations of the mean accuracy on the tasks seen so far, in [0, 1]; higher is better.

  Example:
    >>> average_anytime_accuracy([[0.5, 0.0], [0.5, 1.0]], [0, 1])
    0.625
  """
  curve, task = _curve(curve, task)
  return float(np.mean([row[: k + 1].mean() for row, k in zip(curve, task)]))


def min_acc(curve: Any, task: Any) -> float:
  """min-ACC: mean over old tasks of the lowest accuracy after their own training, in [0, 1]; higher is better.

  Raises:
    ValueError: only one task so far.

  Example:
    >>> min_acc([[0.9, 0.1], [0.3, 0.5], [0.8, 0.9]], [0, 1, 1])
    0.3
  """
  curve, task = _curve(curve, task)
  if task[-1] < 1:
    raise ValueError("min_acc needs evaluations during a second task; there is only one so far")
  return float(np.mean([curve[task > j, j].min() for j in range(task[-1])]))


def wc_acc(curve: Any, task: Any) -> float:
  """WC-ACC: accuracy on the current task and the worst of the old ones, A_k / k + (1 - 1/k) min-ACC, in [0, 1].

  Example:
    >>> round(wc_acc([[0.9, 0.1], [0.3, 0.5], [0.8, 0.9]], [0, 1, 1]), 4)
    0.6
  """
  curve, task = _curve(curve, task)
  k = int(task[-1]) + 1
  return float(curve[-1, k - 1] / k + (1 - 1 / k) * min_acc(curve, task))


def wf(curve: Any, task: Any, window: int = 10) -> float:
  """WF^W: largest drop of accuracy within W consecutive evaluations, mean over tasks seen, in [0, 1]; lower is better.

  Example:
    >>> round(wf([[0.9], [0.8], [0.3], [0.5], [0.85], [0.88]], [0] * 6, window=3), 4)
    0.6
  """
  return _windowed(curve, task, window, -1)


def wp(curve: Any, task: Any, window: int = 10) -> float:
  """WP^W: largest rise of accuracy within W consecutive evaluations, mean over tasks seen, in [0, 1].

  The authors' code skips values below the running maximum here too, and so misses rises; this is the definition.

  Example:
    >>> round(wp([[0.9], [0.3], [0.8], [0.82], [0.84]], [0] * 5, window=10), 4)
    0.54
  """
  return _windowed(curve, task, window, 1)


def _windowed(curve: Any, task: Any, window: int, sign: int) -> float:
  check.positive("window", window)
  curve, task = _curve(curve, task)
  found = []
  for j in range(task[-1] + 1):
    mine = sign * curve[task >= j, j]
    rises = [mine[m + 1 : m + window].max(initial=-np.inf) - mine[m] for m in range(len(mine))]
    found.append(max(0.0, *rises, 0.0))
  return float(np.mean(found))


def _curve(curve: Any, task: Any) -> tuple[np.ndarray, np.ndarray]:
  curve, task = np.asarray(curve, np.float64), np.asarray(task, np.int64)
  if curve.ndim != 2 or not len(curve) or task.shape != curve.shape[:1]:
    raise ValueError(
      f"curve must be [evaluations, tasks] and task [evaluations], got shapes {curve.shape} and {task.shape}"
    )
  if (np.diff(task) < 0).any() or task[0] < 0 or task[-1] >= curve.shape[1]:
    raise ValueError(f"task must rise from 0 within [0, {curve.shape[1]}), got {task.min()}..{task.max()}")
  seen = np.arange(curve.shape[1]) <= task[:, None]
  if not np.isfinite(curve[seen]).all():
    raise ValueError("curve has entries of tasks seen that are not finite")
  inputs.unit_interval("curve", curve[seen])
  return curve, task
