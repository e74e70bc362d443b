"""Placing state and batches on a mesh.

Meshes have Auto axes: the compiler places intermediates, we constrain only what must not be guessed, the batch.
"""

from __future__ import annotations

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unlearnjax.core.types import ArrayTree


def mesh(**axes: int) -> Mesh:
  """A device mesh with Auto axes, e.g. `mesh(data=4, model=2)`.

  Raises:
    ValueError: the sizes do not multiply to at most the number of devices.
  """
  total = 1
  for size in axes.values():
    total *= size
  if not axes or total > len(jax.devices()):
    raise ValueError(f"a mesh of {axes} needs {total} devices, found {len(jax.devices())}")
  kinds = (jax.sharding.AxisType.Auto,) * len(axes)
  return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=kinds, devices=jax.devices()[:total])


def place(tree: ArrayTree, on: Mesh | None) -> ArrayTree:
  """Leaves that are not yet laid out over the mesh are replicated on it; laid-out ones stay where they are.

  Optimizer moments made eagerly from sharded parameters are laid out already; counters and keys are not, and would
  otherwise move, and compile the step a second time, after the first update.
  """
  if on is None:
    return tree

  def leaf(x):
    sharding = getattr(x, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh == on:
      return x
    return jax.device_put(x, NamedSharding(on, PartitionSpec()))

  return jax.tree.map(leaf, tree)


def split_batch(batch: ArrayTree, on: Mesh | None, axes: tuple[str, ...], lead: int = 0) -> ArrayTree:
  """Constrains role batches to be split over the data axes; `lead` axes (replicas) come before the rows."""
  if on is None:
    return batch
  spec = PartitionSpec(*[None] * lead, tuple(a for a in axes if a in on.axis_names))

  def leaf(x):
    return jax.lax.with_sharding_constraint(x, NamedSharding(on, spec)) if x.ndim > lead else x

  return jax.tree.map(leaf, batch)


def layout_of(tree: ArrayTree, on: Mesh | None) -> tuple[NamedSharding, ...] | None:
  """The shardings of the leaves of a placed tree: hashable, so that they can be static under jit."""
  return None if on is None else tuple(x.sharding for x in jax.tree.leaves(tree))


def pin(tree: ArrayTree, layout: tuple[NamedSharding, ...] | None) -> ArrayTree:
  """Constrains leaves to a layout: left alone, the compiler moves what a loop carries, and the next call recompiles."""
  if layout is None:
    return tree
  leaves, structure = jax.tree.flatten(tree)
  return jax.tree.unflatten(structure, map(jax.lax.with_sharding_constraint, leaves, layout))


def data_parallelism(on: Mesh | None, axes: tuple[str, ...]) -> int:
  """Into how many parts a batch is split."""
  size = 1
  for axis in axes:
    size *= 1 if on is None else on.shape.get(axis, 1)
  return size
