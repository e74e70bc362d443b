"""Per-example gradients, in groups small enough for memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, Objective, Params, RoleBatch, View


def zeros_f32(params: Params) -> ArrayTree:
  """Zeros of the shapes of `params`, in float32 or wider: an accumulator that aliases nothing."""
  return jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)), params)


def row_batch(batch: RoleBatch, rows: Array) -> Any:
  """The rows `rows` of every array of a role batch; entries without a row axis stay whole."""
  size = _size(batch)
  return jax.tree.map(lambda x: x[rows] if jnp.ndim(x) and jnp.shape(x)[0] == size else x, dict(batch))


def microbatches(batch: RoleBatch, rows: int | None) -> Any:
  """A role batch of B rows as K = ceil(B / rows) of them, leaves [K, rows, ...]; what is missing is padded, not valid.

  Part k holds rows k, k + K, k + 2K ...: a batch that is split over devices is not moved. Entries without a row axis
  are repeated.

  Args:
    batch: a role batch.
    rows: of a part, >= 1; None is one part of all rows.

  Example:
    >>> split = microbatches({"y": jnp.arange(3), "valid": jnp.ones(3, bool)}, 2)
    >>> split["y"].tolist(), split["valid"].tolist()
    ([[0, 2], [1, 0]], [[True, True], [True, False]])
  """
  size = _size(batch)
  rows = size if rows is None else min(rows, size)
  check.positive("microbatch", rows)
  parts = -(-size // rows)
  short = parts * rows - size

  def split(x):
    if not jnp.ndim(x) or jnp.shape(x)[0] != size:
      return jnp.broadcast_to(x, (parts, *jnp.shape(x)))
    if short:
      x = jnp.concatenate([x, jnp.broadcast_to(x[:1], (short, *x.shape[1:]))])
    return jnp.asarray(x).reshape(rows, parts, *x.shape[1:]).swapaxes(0, 1)

  found = jax.tree.map(split, {**batch, "valid": jnp.asarray(batch["valid"], bool)})
  place = jnp.arange(rows)[None] * parts + jnp.arange(parts)[:, None]
  return {**found, "valid": found["valid"] & (place < size)}


def join_rows(parts: Array, batch: RoleBatch) -> Array:
  """Undoes `microbatches` on a result: [K, rows, ...] -> [B, ...] in the order of the batch."""
  return parts.swapaxes(0, 1).reshape(-1, *parts.shape[2:])[: _size(batch)]


def sum_over_rows(f: Callable[[RoleBatch, Array], ArrayTree], batch: RoleBatch, rng: Array, microbatch: int) -> Any:
  """Sum over valid rows of `f(batch of one row, key)`, `microbatch` rows at a time.

  Example:
    >>> batch = {"x": jnp.arange(5.0), "valid": jnp.array([True, True, True, True, False])}
    >>> float(sum_over_rows(lambda row, key: row["x"][0] ** 2, batch, jax.random.key(0), 2))
    14.0
  """
  check.positive("microbatch", microbatch)
  size = _size(batch)
  microbatch = min(microbatch, size)
  groups = -(-size // microbatch)
  index = jnp.arange(groups * microbatch).reshape(groups, microbatch)
  keep = (index < size) & jnp.asarray(batch["valid"], bool)[jnp.minimum(index, size - 1)]

  def one(row, ok):
    found = f(row_batch(batch, jnp.minimum(row, size - 1)[None]), jax.random.fold_in(rng, row))
    return jax.tree.map(lambda x: jnp.where(ok, x, 0), found)

  def body(total, group):
    part = jax.vmap(one)(*group)
    return jax.tree.map(lambda t, x: t + x.sum(0).astype(t.dtype), total, part), None

  shapes = jax.eval_shape(one, index[0, 0], keep[0, 0])
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), shapes)
  return jax.lax.scan(body, zeros, (index, keep))[0]


def per_example_gradients(objective: Objective, params: Params, batch: RoleBatch, view: View) -> ArrayTree:
  """The gradient of every row: leaves f[B, ...]. Rows that are not valid give zeros.

  Args:
    objective: a mean over rows, built with train=False.
    params: weights.
    batch: a role batch of B rows.
    view: refs, state and rng; rng is folded by row.

  Example:
    >>> from unlearnjax.objectives import mean
    >>> loss = lambda params, batch, view: mean((params - batch["y"]) ** 2, batch)
    >>> batch = {"y": jnp.array([1.0, 2.0]), "valid": jnp.array([True, True])}
    >>> view = View(0, jax.random.key(0), {}, {}, ())
    >>> per_example_gradients(loss, jnp.array(0.0), batch, view).tolist()
    [-2.0, -4.0]
  """
  rows = jnp.arange(_size(batch))

  def one(row, ok):
    part = row_batch(batch, row[None])
    gradient = gradient_of(objective, params, part, view._replace(rng=jax.random.fold_in(view.rng, row)))[0]
    return jax.tree.map(lambda g: jnp.where(ok, g, 0), gradient)

  return jax.vmap(one)(rows, jnp.asarray(batch["valid"], bool))


def gradient_of(objective: Objective, params: Params, batch: RoleBatch, view: View) -> tuple[ArrayTree, Mapping]:
  """(gradient, aux). Raises ValueError for an objective that runs a model with state for training."""
  check.objective("objective", objective)
  gradient, aux = jax.grad(objective, has_aux=True)(params, batch, view)
  if "state" in aux:
    raise ValueError(
      "a statistic reads the model in eval mode, but the objective returns a new model state: build it with train=False"
    )
  return gradient, aux


def _size(batch: RoleBatch) -> int:
  if "valid" not in batch:
    raise ValueError(f"the role batch has no column 'valid'; found {sorted(batch)}")
  return jnp.shape(batch["valid"])[0]
