"""Gradients as rows: what the roles of a combiner must look like, and sums of many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax.core.precise import full_precision
from unlearnjax.core.types import Array, ArrayTree


def zero_invalid(memory: ArrayTree, valid: Array | None) -> ArrayTree:
  """Rows that are not valid become zeros, whatever stood there."""
  if valid is None:
    return memory
  return jax.tree.map(lambda m: jnp.where(valid.reshape(-1, *[1] * (m.ndim - 1)), m, 0), memory)


def role(grads: Mapping[str, Any], name: str, combiner: str) -> ArrayTree:
  """The gradient of a role, or an error that lists those there are."""
  if name not in grads:
    raise ValueError(f"{combiner} needs a role {name!r}; the roles are {sorted(grads)}")
  return grads[name]


def current_and_rows(
  grads: Mapping[str, Any], current: str, memory: str, valid: Mapping[str, Array] | None, combiner: str
) -> tuple[ArrayTree, ArrayTree]:
  """The current gradient and the rows of the memory, checked; invalid rows are zeros.

  Raises:
    ValueError: a missing role, another structure, or memory leaves that are no rows [T, ...] of the current gradient.
  """
  now, rows = role(grads, current, combiner), role(grads, memory, combiner)
  if jax.tree.structure(now) != jax.tree.structure(rows):
    raise ValueError(
      f"{combiner}: role {memory!r} must have the structure of role {current!r}, got {jax.tree.structure(rows)} and "
      f"{jax.tree.structure(now)}"
    )
  sizes = {m.shape[0] if m.ndim else None for m in jax.tree.leaves(rows)}
  fits = all(m.ndim == c.ndim + 1 and m.shape[1:] == c.shape for m, c in zip(*map(jax.tree.leaves, (rows, now))))
  if not fits or len(sizes) > 1:
    got, want = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (rows, now))
    raise ValueError(
      f"{combiner}: the leaves of role {memory!r} must be rows [T, ...] of those of {current!r}, one a task; "
      f"got shapes {got} for {want}"
    )
  return now, zero_invalid(rows, (valid or {}).get(memory))


def all_rows(grads: Mapping[str, Any], params: ArrayTree, valid: Mapping[str, Array] | None) -> tuple[ArrayTree, Array]:
  """The gradients of all roles as one stack of rows, and which rows count; a role of T tasks gives T rows.

  Returns:
    (leaves f[K, ...], bool[K]).
  """
  if not grads:
    raise ValueError("there are no gradients to combine")
  if params is None:
    raise ValueError("params must be the trained parameters, got None: they tell a gradient from a stack of gradients")
  stacks, keep = [], []
  shapes = [jnp.shape(p) for p in jax.tree.leaves(params)]
  for name, tree in grads.items():
    found = [jnp.shape(g) for g in jax.tree.leaves(tree)]
    single = found == shapes
    if jax.tree.structure(tree) != jax.tree.structure(params) or not (single or [s[1:] for s in found] == shapes):
      raise ValueError(f"role {name!r} must hold one gradient, or rows of them, of shapes {shapes}; got {found}")
    rows = jax.tree.map(lambda g: g[None], tree) if single else tree
    count = jax.tree.leaves(rows)[0].shape[0]
    ok = (valid or {}).get(name) if not single else None
    stacks.append(zero_invalid(rows, ok))
    keep.append(jnp.ones(count, bool) if ok is None else jnp.asarray(ok, bool))
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *stacks), jnp.concatenate(keep)


@full_precision
def weigh(rows: ArrayTree, coefficients: Array, current: ArrayTree | None = None) -> ArrayTree:
  """`current + sum_k coefficients[k] * rows[k]` in one product a leaf, for many rows; current is 0 by default.

  Example:
    >>> weigh({"w": jnp.eye(2)}, jnp.array([1.0, 2.0]))["w"].tolist()
    [1.0, 2.0]
  """

  def leaf(m, c):
    wide = jnp.promote_types(c.dtype, jnp.float32)
    return (c.astype(wide) + jnp.tensordot(coefficients.astype(wide), m.astype(wide), 1)).astype(c.dtype)

  zeros = lambda: jax.tree.map(lambda m: jnp.zeros(m.shape[1:], m.dtype), rows)
  return jax.tree.map(leaf, rows, zeros() if current is None else current)
