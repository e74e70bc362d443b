"""The capped simplex: weights of examples that add up to how many are chosen."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array


def project_capped_simplex(values: Array, total: float, *, iterations: int = 60) -> Array:
  """The nearest point of {w: 0 <= w <= 1, sum w = total}: clip(values - mu, 0, 1), mu by bisection.

  Args:
    values: f[n].
    total: in [0, n].
    iterations: of the bisection over [min - 1, max]; mu is then made exact on the entries strictly between 0 and 1.

  Returns:
    f[n].

  Raises:
    ValueError: a total that is not in [0, n].

  Example:
    >>> [round(w, 4) for w in project_capped_simplex(jnp.array([0.9, 0.5, 0.1, -0.3]), 2).tolist()]
    [1.0, 0.7, 0.3, 0.0]
  """
  if not 0 <= total <= values.shape[0]:
    raise ValueError(f"total must be in [0, {values.shape[0]}], the number of values, got {total}")
  check.positive("iterations", iterations)

  def halve(_, ends):
    low, high = ends
    middle = (low + high) / 2
    over = jnp.sum(jnp.clip(values - middle, 0, 1)) > total
    return jnp.where(over, middle, low), jnp.where(over, high, middle)

  low, high = jax.lax.fori_loop(0, iterations, halve, (jnp.min(values) - 1, jnp.max(values)))
  found = jnp.clip(values - (low + high) / 2, 0, 1)
  free = (found > 0) & (found < 1)
  spare = (total - jnp.sum(found)) / jnp.maximum(jnp.sum(free), 1)
  return jnp.clip(jnp.where(free, found + spare, found), 0, 1)
