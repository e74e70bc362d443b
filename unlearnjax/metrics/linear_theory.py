"""Forgetting and generalisation of linear regression on one task after another, in closed form.

Lin, Ju, Liang and Shroff, ICML 2023 (paper 136). Task t has weights w*_t in R^p and n examples x ~ N(0, I),
y = <x, w*_t> + N(0, noise). The learner moves, from 0, as little as it needs to fit each task. The loss on task i is
|w - w*_i|^2, the test error without the noise of the labels; expectations are over all examples.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np

from unlearnjax.core import check


def linear_losses(weights: Any, examples: int, *, noise: float = 0.0) -> np.ndarray:
  """E L_i(w_t), the expected loss on every task after every task, and before the first in row 0; lower is better.

  r^t |w*_i|^2 + (1 - r) sum_{k<=t} r^(t-k) |w*_k - w*_i|^2 + noise p / (p - n - 1) (1 - r^t), r = 1 - n / p.

  Args:
    weights: w*, f[T, p], in the order of learning.
    examples: n of each task, at least 1 and at most p - 2.
    noise: variance of the labels' noise, >= 0.

  Returns:
    f64[T + 1, T].

  Raises:
    ValueError: no weights, or numbers out of range: with n > p - 2 the expectation does not exist.

  Example:
    >>> linear_losses([[2.0, 0.0, 0.0, 0.0]], 2).tolist()
    [[4.0], [2.0]]
  """
  w = np.asarray(weights, np.float64)
  if w.ndim != 2 or not w.size:
    raise ValueError(f"weights must be [tasks, features], got shape {w.shape}")
  check.positive("noise", noise, zero=True)
  count, p = w.shape
  if not 1 <= examples <= p - 2:
    raise ValueError(f"examples must be in [1, {p - 2}], two less than the {p} features, got {examples}")
  r = 1 - examples / p
  apart = np.sum((w[:, None] - w[None]) ** 2, -1)
  rows = [np.sum(w**2, -1)]
  for t in range(1, count + 1):
    decay = r ** (t - np.arange(1, t + 1))
    rows.append(r**t * rows[0] + (1 - r) * decay @ apart[:t] + noise * p / (p - examples - 1) * (1 - r**t))
  return np.stack(rows)


def linear_forgetting(weights: Any, examples: int, *, noise: float = 0.0) -> float:
  """F_T = 1/(T-1) sum_{i<T} E[L_i(w_T) - L_i(w_i)]; lower is better, and it can be below 0.

  Args:
    weights, examples, noise: as for `linear_losses`, at least two tasks.

  Example:
    >>> linear_forgetting([[1.0] + 19 * [0.0]] * 3, 5)  # the same task three times
    -0.234375
  """
  losses = linear_losses(weights, examples, noise=noise)
  count = losses.shape[1]
  if count < 2:
    raise ValueError("linear_forgetting needs at least two tasks, got one")
  return float(np.mean([losses[-1, i] - losses[i + 1, i] for i in range(count - 1)]))


def linear_generalization(weights: Any, examples: int, *, noise: float = 0.0) -> float:
  """G_T = 1/T sum_i E L_i(w_T) >= 0: the expected loss over all tasks in the end; lower is better.

  Args:
    weights, examples, noise: as for `linear_losses`.

  Example:
    >>> linear_generalization([[1.0] + 19 * [0.0]] * 3, 5)
    0.421875
  """
  return float(linear_losses(weights, examples, noise=noise)[-1].mean())


def best_order(
  weights: Any, examples: int, *, noise: float = 0.0, by: Literal["forgetting", "generalization"] = "forgetting"
) -> tuple[tuple[int, ...], float]:
  """The order of tasks with the least expected forgetting, or error, and what that is.

  All T! orders are compared: for at most 8 tasks. The first of equal ones in lexicographic order is taken.

  Args:
    weights, examples, noise: as for `linear_losses`.
    by: what is to be small.

  Example:
    >>> two_alike = [[1.0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0]]
    >>> best_order(two_alike, 2, by="generalization")[0]
    (1, 0, 2)
  """
  check.one_of("by", by, ("forgetting", "generalization"))
  w = np.asarray(weights, np.float64)
  if not 2 <= len(w) <= 8:
    raise ValueError(f"best_order compares all orders of 2 to 8 tasks, got {len(w)}")
  measure = linear_forgetting if by == "forgetting" else linear_generalization
  orders = list(itertools.permutations(range(len(w))))
  values = np.array([measure(w[list(order)], examples, noise=noise) for order in orders])
  least = int(np.flatnonzero(values <= values.min() + 1e-12 * max(1.0, abs(values.min())))[0])
  return orders[least], float(values[least])
