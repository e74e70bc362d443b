"""What all memories are: a table of M rows of examples with static shapes, written in place and read at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array, ArrayTree, RoleBatch


def empty(example: RoleBatch, *lead: int) -> dict[str, Any]:
  """Rows of zeros, `valid` False, with the leading axes `lead` in place of the batch axis of the example.

  Example:
    >>> rows = empty({"y": jnp.ones(3), "valid": jnp.ones(3, bool)}, 2)
    >>> rows["y"].shape, rows["valid"].tolist()
    ((2,), [False, False])
  """
  if "valid" not in example:
    raise ValueError(f"an example must be a role batch with the column 'valid', got {sorted(example)}")
  return jax.tree.map(lambda x: jnp.zeros((*lead, *x.shape[1:]), x.dtype), dict(example))


def matching(rows: Mapping[str, Any], batch: RoleBatch, lead: int = 1) -> dict[str, Any]:
  """The columns of a role batch that the memory keeps, in its dtypes.

  Raises:
    ValueError: a column that is missing, or whose examples have another shape.
  """

  def pick(kept: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = {}
    for name, column in kept.items():
      if name not in given:
        raise ValueError(f"the memory keeps the column {where + name!r}, but the batch has {sorted(given)}")
      if isinstance(column, Mapping):
        found[name] = pick(column, given[name], f"{where}{name}/")
        continue
      shape, want = jnp.shape(given[name])[1:], column.shape[lead:]
      if shape != want:
        raise ValueError(f"an example's {where + name!r} must have shape {want} as in the memory, got {shape}")
      found[name] = jnp.asarray(given[name], column.dtype)
    return found

  return pick(rows, batch, "")


def group_of(batch: RoleBatch, by: str) -> Array:
  """int32[B]: the column `by` of a role batch, wherever it stands.

  Raises:
    ValueError: there is none.
  """
  for columns in (batch, batch.get("inputs", {})):
    if by in columns:
      return jnp.asarray(columns[by], jnp.int32)
  raise ValueError(f"the memory groups examples by the column {by!r}, but the batch has {sorted(batch)}")


def write(rows: ArrayTree, slot: Array, batch: ArrayTree) -> ArrayTree:
  """`rows` with row i of the batch at `slot[i]`; of several rows for one slot the last wins, on every device alike.

  Args:
    rows: leaves [M, ...].
    slot: int32[B]; places outside [0, M) are not written.
    batch: leaves [B, ...].

  Example:
    >>> write(jnp.zeros(3), jnp.array([1, 1, 7]), jnp.array([5.0, 6.0, 7.0])).tolist()
    [0.0, 6.0, 0.0]
  """
  size = jax.tree.leaves(rows)[0].shape[0]
  slot = jnp.where((slot >= 0) & (slot < size), slot, size)
  order = jnp.arange(len(slot))
  last = jnp.full(size + 1, -1).at[slot].max(order)
  slot = jnp.where(last[slot] == order, slot, size)
  return jax.tree.map(lambda kept, new: kept.at[slot].set(new, mode="drop"), rows, batch)


def draw(rows: RoleBatch, key: Array, size: int) -> RoleBatch:
  """`size` different valid rows, uniformly at random; where there are fewer, the rest is not valid.

  Raises:
    ValueError: a size that the memory does not have.
  """
  total = rows["valid"].shape[0]
  if not 1 <= size <= total:
    raise ValueError(f"size must be in [1, {total}], the capacity of the memory; got {size}")
  luck = jnp.where(rows["valid"], jax.random.uniform(key, (total,)), -1.0)
  chosen = jax.lax.top_k(luck, size)[1]
  found = jax.tree.map(lambda column: column[chosen], dict(rows))
  return {**found, "id": jnp.where(found["valid"], found["id"], -1)} if "id" in found else found
