"""How many keys reach each of a few thresholds, in one read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.kernels import keys
from unlearnjax.kernels.choose import use_pallas
from unlearnjax.kernels.stream import stream


def count_reaching(x: Array, thresholds: Array, dtype, magnitude: bool, implementation: str) -> Array:
  """uint32[T]: how many keys of x are >= thresholds[T]; keys are made anew, as stored ones would double the memory."""
  count = thresholds.shape[0]
  reaching = lambda key, at: [key >= at[i] for i in range(count)]
  if thresholds.dtype == jnp.int32 and use_pallas(implementation, x):

    def body(scalars, blocks, stacks):
      del stacks
      key = keys.to_keys(blocks[0], dtype, magnitude)
      return (), [c.astype(jnp.int32) for c in reaching(key, scalars[0])]

    return stream(body, [thresholds], [x], sums=(count, jnp.int32))[1].astype(jnp.uint32)
  # tied to the thresholds, or XLA would take the keys out of the search's loop and keep them
  x, thresholds = jax.lax.optimization_barrier((x, thresholds))
  return count_true(reaching(keys.to_keys(x, dtype, magnitude), thresholds))


def count_true(conditions: Sequence[Array]) -> Array:
  """uint32[len(conditions)]: how often each holds, in one pass over what they are computed from.

  One reduction of many operands: separate sums would each read the array again, and XLA's CPU backend vectorizes counts
  only in reductions of several operands.
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
