"""How spread out the hidden states of a set are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def total_variance(hidden: Array) -> Array:
  """Trace of the covariance of hidden states, sum_k var_k with N - 1 in the denominator, >= 0.

  A forget set with a large one does more collateral damage (Patil et al. 2025, arXiv:2502.15082); a skill whose hidden
  states have a large one is forgotten more widely (Zhang et al. 2024, arXiv:2409.02228).

  Args:
    hidden: f[N, d] with N >= 2.

  Raises:
    ValueError: no matrix, or fewer than two rows.

  Example:
    >>> float(total_variance(jnp.array([[0.0, 1.0], [2.0, 1.0]])))
    2.0
  """
  shapes.batched("hidden", hidden, "N, d")
  if np.shape(hidden)[0] < 2:
    raise ValueError(f"hidden must have at least two rows, got {np.shape(hidden)[0]}")
  return jnp.sum(jnp.var(shapes.at_least_f32(hidden), axis=0, ddof=1))
