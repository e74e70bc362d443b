"""How well scores order examples."""

from __future__ import annotations

import jax.numpy as jnp

from unlearnjax.core.types import Array


def mean_average_precision(scores: Array, targets: Array, valid: Array | None = None) -> Array:
  """Average precision, mean over the attributes that occur: precision at every positive, from the highest score down.

  Higher is better. Monotone changes of the scores do not matter.

  Args:
    scores: f[B, K].
    targets: bool, int or float [B, K] in {0, 1}.
    valid: bool[B]; rows that are not do not count.

  Returns:
    f[] in [0, 1]; 0 where no attribute occurs.

  Example:
    >>> scores = jnp.array([[0.9], [0.8], [0.1]])
    >>> round(float(mean_average_precision(scores, jnp.array([[1], [0], [1]]))), 4)  # (1 / 1 + 2 / 3) / 2
    0.8333
  """
  if jnp.ndim(scores) != 2 or jnp.shape(scores) != jnp.shape(targets):
    raise ValueError(f"scores and targets must be [B, K] both, got {jnp.shape(scores)} and {jnp.shape(targets)}")
  keep = jnp.ones(scores.shape[0], bool) if valid is None else jnp.asarray(valid, bool)
  order = jnp.argsort(jnp.where(keep[:, None], -scores, jnp.inf), axis=0)
  counted = jnp.take_along_axis(jnp.broadcast_to(keep[:, None], scores.shape), order, 0).astype(jnp.float32)
  positive = jnp.take_along_axis(jnp.asarray(targets, jnp.float32), order, 0) * counted
  precision = jnp.cumsum(positive, 0) / jnp.maximum(jnp.cumsum(counted, 0), 1)
  found = jnp.sum(positive, 0)
  average = jnp.sum(precision * positive, 0) / jnp.maximum(found, 1)
  return jnp.sum(average) / jnp.maximum(jnp.sum(found > 0), 1)
