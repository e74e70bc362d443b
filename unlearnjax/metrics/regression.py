"""Errors of regressors."""

from __future__ import annotations

import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.losses import absolute_error, squared_error
from unlearnjax.metrics import inputs


def mean_absolute_error(predictions: Array, targets: Array, valid: Array | None = None) -> Array:
  """Mean |prediction - target|, in the unit of the targets, >= 0.

  On retained data lower is better; on a forgotten band of values the ideal is the error of the retrained model, which
  is large. Source: Tarun et al. 2023, arXiv:2210.08196.

  Args:
    predictions: f[N] or f[N, K].
    targets: f[N] or f[N, K].
    valid: bool[N], rows that count; all by default. NaN when no row counts.

  Raises:
    ValueError: no example, shapes that differ.

  Example:
    >>> float(mean_absolute_error(jnp.array([[1.0], [3.0]]), jnp.array([0.0, 5.0])))
    1.5
  """
  return _mean(absolute_error, predictions, targets, valid)


def mean_squared_error(predictions: Array, targets: Array, valid: Array | None = None) -> Array:
  """Mean (prediction - target)^2, in the squared unit of the targets, >= 0; otherwise as `mean_absolute_error`.

  Example:
    >>> float(mean_squared_error(jnp.array([[1.0], [3.0]]), jnp.array([0.0, 5.0])))
    2.5
  """
  return _mean(squared_error, predictions, targets, valid)


def _mean(error, predictions: Array, targets: Array, valid: Array | None) -> Array:
  inputs.not_empty("predictions", jnp.asarray(predictions))
  return inputs.masked_mean(error(predictions, targets), valid)
