"""Many steps in one program: what `fit` calls again and again."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.batches import gather
from unlearnjax.core.tree import all_finite
from unlearnjax.sharding import pin, split_batch

CHUNK = 512
"""Steps at most in one call; the logs and row numbers of a call have this length."""

_TARGET_SECONDS = 0.5


@functools.partial(
  jax.jit, static_argnames=("transform", "layout", "shardings", "mesh", "axes"), donate_argnames=("state",)
)
def run_chunk(transform, layout, shardings, mesh, axes, state, refs, tables, data, count, start, total):
  """Up to `count` steps on the device; stops after the first step that is finite in no replica.

  A `while_loop` with a dynamic trip count is as fast as a scan, and one program serves every remainder.
  """
  lead = state.step.ndim

  def batch_at(i):
    if layout is None:
      batch = jax.tree.map(lambda x: x[i], data["stacked"])
    else:
      batch = gather(layout, tables, {r: rows[i] for r, rows in data["rows"].items()})
    batch = split_batch(batch, mesh, axes, lead)
    if "phase" in data:
      batch["phase"] = data["phase"][i]
    batch["progress"] = (start + i) / jnp.maximum(total, 1).astype(jnp.float32)
    return batch

  zero = jnp.zeros((), jnp.int32)
  shapes = jax.eval_shape(lambda s: transform.update(s, batch_at(zero), refs)[1], state)
  length = jax.tree.leaves(data)[0].shape[0]
  logs = {
    k: jnp.zeros((length, *v.shape), jnp.float32)
    for k, v in shapes.items()
    if k != "ok" and v.shape == state.step.shape and not jnp.issubdtype(v.dtype, jax.dtypes.prng_key)
  }

  def body(carry):
    i, state, logs, _ = carry
    state, info = transform.update(state, batch_at(i), refs)
    logs = {k: v.at[i].set(jnp.asarray(info[k], jnp.float32)) for k, v in logs.items()}
    return i + 1, pin(state, shardings), logs, info["ok"]

  def more(carry):
    return (carry[0] < count) & jnp.any(carry[3])

  i, state, logs, ok = jax.lax.while_loop(more, body, (zero, state, logs, jnp.ones(state.step.shape, bool)))
  finite = jax.vmap(all_finite)(state.params) if lead else all_finite(state.params)
  return i, pin(state, shardings), logs, ok, finite


def next_chunk(chunk: int, took: float) -> int:
  """As many steps as run in about half a second: long enough to hide the launch, short enough to show progress."""
  if took < _TARGET_SECONDS:
    return min(2 * chunk, CHUNK)
  return max(chunk // 2, 1) if took > 4 * _TARGET_SECONDS else chunk


def pad_steps(rows: np.ndarray, length: int) -> np.ndarray:
  return rows if len(rows) == length else np.concatenate([rows, np.repeat(rows[-1:], length - len(rows), 0)])
