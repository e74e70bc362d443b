"""What must be remembered of least-squares tasks so that none of them is ever forgotten: a point and a span.

Peng, Giampouras and Vidal, "The Ideal Continual Learner", ICML 2023 (paper 55). The minimisers of all tasks so far
are an affine set, K_t: a point w, and the directions that no example has used, of which the complement is kept. The
arithmetic is that of numpy in float64, whatever the precision of the model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unlearnjax.core import check


class Solutions(NamedTuple):
  """All w that minimise |X w - y|^2 of every task so far: `point` plus anything orthogonal to the rows of `span`.

  Attributes:
    point: f64[p, k], the one of least norm.
    span: f64[r, p], orthonormal rows, a basis of the examples of all tasks; r is the rank of all of them.
    residual: largest |X w - y| over the examples of the last task; 0 up to rounding where all tasks agree.
  """

  point: np.ndarray
  span: np.ndarray
  residual: float = 0.0


def all_solutions(features: int, outputs: int = 1) -> Solutions:
  """Before the first task: every w, around 0.

  Example:
    >>> all_solutions(3).span.shape
    (0, 3)
  """
  check.positive("features", features)
  check.positive("outputs", outputs)
  return Solutions(np.zeros((features, outputs)), np.zeros((0, features)))


def narrowed(found: Solutions, x, y, *, slack: float = 1e-8, relax: bool = False) -> Solutions:
  """The solutions that also minimise a new task's squared error.

  With A = X off the span, w <- w + A^+ (y - X w), and the span takes in the right singular vectors of A. Where tasks
  have a common minimiser, the point is that of least norm on the data of all tasks, whatever their order.

  Args:
    found: of the tasks before.
    x: f[n, p], examples.
    y: f[n, k] or f[n] (k = 1), targets.
    slack: what |X w - y| may be at most, relative to the largest |y|, or to 1.
    relax: keeps the tasks before as they are and does what can be done for this one, instead of the error.

  Raises:
    ValueError: shapes that do not fit; a task that has no common minimiser with those before, or none without error.

  Example:
    >>> first = narrowed(all_solutions(3), np.array([[1.0, 0, 0]]), np.array([2.0]))
    >>> second = narrowed(first, np.array([[1.0, 1, 0]]), np.array([5.0]))
    >>> second.point.ravel().round(6).tolist(), second.span.shape
    ([2.0, 3.0, 0.0], (2, 3))
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  y = y[:, None] if y.ndim == 1 else y
  p, k = found.point.shape
  if x.ndim != 2 or x.shape[1] != p or y.shape != (len(x), k):
    raise ValueError(f"x and y must be [n, {p}] and [n, {k}], got shapes {x.shape} and {y.shape}")
  off = outside(x, found.span)
  left, values, right = np.linalg.svd(off, full_matrices=False)
  kept = values > rank_tolerance(x)
  left, values, right = left[:, kept], values[kept], right[kept]
  point = found.point
  for _ in range(2):  # the second pass removes what the first one's rounding left
    point = point + right.T @ ((left.T @ (y - x @ point)) / values[:, None])
  residual = float(np.max(np.abs(x @ point - y), initial=0.0))
  if not relax and residual > slack * max(1.0, float(np.max(np.abs(y), initial=0.0))):
    raise ValueError(
      f"the tasks have no common minimiser without error: {residual:.3g} is left on the new one, more than "
      f"slack={slack} allows; more features or relax=True would do"
    )
  return Solutions(point, np.concatenate([found.span, right]), residual)


def span_of(span, x, *, tolerance: float | None = None) -> np.ndarray:
  """The least subspace that holds a span and new data: the ideal learner of subspaces, task by task.

  Args:
    span: f[r, p], orthonormal rows.
    x: f[n, p].
    tolerance: singular values up to this are noise; rounding alone by default.

  Returns:
    f64[r', p], orthonormal rows, the first r unchanged.

  Example:
    >>> np.abs(span_of(np.array([[1.0, 0, 0]]), np.array([[3.0, 2.0, 0], [1.0, 0, 0]]))).round(6).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
  """
  span, x = np.asarray(span, np.float64), np.asarray(x, np.float64)
  _, values, right = np.linalg.svd(outside(x, span), full_matrices=False)
  new = outside(right[values > (rank_tolerance(x) if tolerance is None else tolerance)], span)
  new = np.linalg.qr(new.T)[0].T
  return np.concatenate([span, new * np.where(new.sum(1, keepdims=True) < 0, -1.0, 1.0)])


def outside(x: np.ndarray, span: np.ndarray) -> np.ndarray:
  """Rows of x without their part in the span; twice, which is enough."""
  for _ in range(2):
    x = x - (x @ span.T) @ span
  return x


def rank_tolerance(x: np.ndarray) -> float:
  """Singular values up to this are rounding."""
  return float(max(x.shape) * np.finfo(np.float64).eps * np.linalg.norm(x, 2) * 4) if x.size else 0.0
