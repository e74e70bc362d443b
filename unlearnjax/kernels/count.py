"""How many keys reach each of a few thresholds, in one read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array


def count_true(conditions: Sequence[Array]) -> Array:
  """uint32[len(conditions)]: how often each holds, in one pass over what they are computed from.

  One reduction of many operands: separate sums would each read the array again (and XLA's CPU backend vectorizes only
  reductions of several operands).
  """
  ones = tuple(c.astype(jnp.uint32) for c in conditions)
  zeros = (jnp.uint32(0),) * len(ones)
  add = lambda a, b: tuple(x + y for x, y in zip(a, b))
  return jnp.stack(jax.lax.reduce(ones, zeros, add, tuple(range(ones[0].ndim))))


def reversed_index(shape: tuple[int, ...]) -> Array:
  """uint32[shape]: size - 1 - the row-major index."""
  last, stride = jnp.full(shape, math.prod(shape) - 1, jnp.uint32), math.prod(shape)
  for axis, size in enumerate(shape):
    stride //= size
    last = last - jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
  return last
