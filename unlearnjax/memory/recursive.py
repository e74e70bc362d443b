"""Recursive least squares: a linear layer that remembers all rows it ever saw in one matrix, in any order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unlearnjax.core import check

CHUNK = 256


class Recursive(NamedTuple):
  """What is left of all rows G and targets Y so far.

  Attributes:
    inverse: P, f64[m, m], alpha (alpha I + G^T G)^-1; for alpha -> 0 the projection off the rows of G.
    weights: f64[m, C], (alpha I + G^T G)^-1 G^T Y.
  """

  inverse: np.ndarray
  weights: np.ndarray


def nothing_seen(features: int, outputs: int) -> Recursive:
  """P = I and weights 0.

  Example:
    >>> nothing_seen(2, 1).inverse.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
  """
  return Recursive(np.eye(features), np.zeros((features, outputs)))


def recursive_ridge(seen: Recursive, rows: np.ndarray, targets: np.ndarray, *, alpha: float = 1e-3) -> Recursive:
  """Adds rows: ridge regression on all of them, whatever the order and the batches in which they came.

  K = P G^T (alpha I + G P G^T)^-1, weights + K (Y - G weights), P - K G P, in float64 and kept symmetric.

  Args:
    seen: of earlier rows with the same alpha; `nothing_seen` at first.
    rows: G, f[n, m].
    targets: Y, f[n, C].
    alpha: > 0, the ridge; values near 0 make P a projection, and the weights least squares.

  Raises:
    ValueError: alpha <= 0, or sizes that do not fit.

  Example:
    >>> found = recursive_ridge(nothing_seen(2, 1), np.array([[1.0, 0.0]]), np.array([[2.0]]), alpha=1.0)
    >>> found.weights.tolist(), found.inverse.tolist()
    ([[1.0], [0.0]], [[0.5, 0.0], [0.0, 1.0]])
  """
  check.positive("alpha", alpha)
  p, w = (np.asarray(x, np.float64) for x in seen)
  rows, targets = np.asarray(rows, np.float64), np.asarray(targets, np.float64)
  if rows.ndim != 2 or targets.ndim != 2 or rows.shape[1] != len(p) or targets.shape != (len(rows), w.shape[1]):
    raise ValueError(f"rows must be [n, {len(p)}] and targets [n, {w.shape[1]}], got {rows.shape} and {targets.shape}")
  for start in range(0, len(rows), CHUNK):
    g, y = rows[start : start + CHUNK], targets[start : start + CHUNK]
    reach = p @ g.T
    gain = np.linalg.solve(alpha * np.eye(len(g)) + g @ reach, reach.T).T
    w = w + gain @ (y - g @ w)
    p = p - gain @ reach.T
    p = (p + p.T) / 2
  return Recursive(p, w)


def in_two(x: np.ndarray) -> np.ndarray:
  """A float64 array as two float32 that add up to it, f32[2, ...]: 48 bits of precision where float64 is not at hand.

  Example:
    >>> both = in_two(np.array([1.0 + 1e-9]))
    >>> both.dtype.name, float(both.astype(np.float64).sum()) - 1 > 0.9e-9
    ('float32', True)
  """
  x = np.asarray(x, np.float64)
  high = x.astype(np.float32)
  return np.stack([high, (x - high).astype(np.float32)])
