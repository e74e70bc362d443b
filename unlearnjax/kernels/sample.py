"""A first guess from a small sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.kernels import wide
from unlearnjax.kernels.search import THRESHOLDS

SAMPLE = 1 << 14
_OFFSETS = (-4.5, -3.2, -2.2, -1.5, -1.0, -0.6, -0.2, 0.2, 0.6, 1.0, 1.5, 2.2, 3.2, 4.5, 0.0, 0.0)


def guess(counter, k: wide.Wide) -> Array:
  """Thresholds [1, 16] around the k-th largest: a wrong guess costs a pass, never exactness."""
  n = sum(x.size for x in counter.leaves)
  step = max(n // SAMPLE, 1)
  parts = [counter.keys(thin(x, step)).ravel() for x in counter.leaves]
  drawn = jnp.sort(jnp.concatenate(parts))
  part = 1 - wide.as_float(k) / n
  spread = jnp.sqrt(part * (1 - part) * drawn.size) + 1
  ranks = part * drawn.size + spread * jnp.array(_OFFSETS[:THRESHOLDS])
  key = drawn[jnp.clip(ranks, 0, drawn.size - 1).astype(jnp.int32)]
  unsigned = jax.lax.bitcast_convert_type(key ^ jnp.iinfo(key.dtype).min, counter.unsigned)
  return (unsigned >> counter.shift)[None]


def thin(x: Array, step: int) -> Array:
  """Every step-th entry or so, by strides along the axes: nothing is reshaped."""
  strides = []
  for size in x.shape:
    strides.append(min(step, max(size, 1)))
    step = -(-step // strides[-1])
  return jax.lax.slice(x, (0,) * x.ndim, x.shape, strides)
