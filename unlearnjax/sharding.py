"""Placing state and batches on a mesh.

Meshes have Auto axes: the compiler places intermediates, we constrain only what must not be guessed, the batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unlearnjax.core.types import Array, ArrayTree

Rules = Mapping[str, Any]
"""Logical axis -> mesh axis, a tuple of mesh axes, or None; logical axes that are not named are not split."""

FSDP: Rules = {"batch": "data", "embed": "data", "heads": "model", "kv": "model", "mlp": "model", "vocab": "model"}
"""Parameters are split over all devices; over "data" as they are stored, over "model" also as they are used."""


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


def split_cpu(parts: int | None = None) -> int:
  """Makes a CPU as many devices as it has cores, so that a mesh can split batches over them.

  Within one device, XLA shares out single operations, and those of small images keep two cores busy for two thirds of
  the time; with a device a core, each has its own part of the batch. Networks that take microseconds a step are better
  off with one device: the parts wait for one another at every step.

  Call it before anything is computed: afterwards, and where the CPU is divided already, it changes nothing.

  Args:
    parts: devices; by default the cores that this process may use, at most 8.

  Returns:
    how many devices the CPU is now; 1 where the default backend is another.

  Example:
    >>> dict(mesh(data=split_cpu(1)).shape)
    {'data': 1}
  """
  if jax.config.jax_num_cpu_devices < 0 and "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
      jax.config.update("jax_num_cpu_devices", parts or min(cores, 8))
    except RuntimeError:  # the devices are in use
      pass
  return jax.device_count() if jax.default_backend() == "cpu" else 1


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
    return put(x, NamedSharding(on, PartitionSpec()))

  return jax.tree.map(leaf, tree)


def put(x: Array, sharding: NamedSharding) -> Array:
  """`jax.device_put`, also onto a mesh of several processes: each lays out its part of the same host array."""
  if sharding.is_fully_addressable:
    return jax.device_put(x, sharding)
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    return jax.random.wrap_key_data(put(jax.random.key_data(x), sharding), impl=jax.random.key_impl(x))
  return jax.device_put(np.asarray(x), sharding)


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


def frozen_rules(rules: Rules) -> tuple[tuple[str, Any], ...]:
  """Rules as sorted pairs: hashable, so that a model function that holds them can key a cache of programs."""
  return tuple(sorted((name, tuple(axis) if isinstance(axis, list) else axis) for name, axis in rules.items()))


def partition(axes: tuple[str | None, ...], shape: tuple[int, ...], on: Mesh, rules: Rules) -> PartitionSpec:
  """How an array with named axes is split over a mesh.

  A mesh axis is used at most once, by the first logical axis that asks for it. A dimension that its mesh axes do not
  divide, and one whose mesh axis does not exist, stays whole.

  Example:
    >>> on = mesh(data=1)
    >>> tuple(partition(("layer", "embed", "mlp"), (2, 64, 256), on, FSDP))
    (None, 'data')
  """
  if len(axes) != len(shape):
    raise ValueError(f"axes {axes} must name every dimension of shape {tuple(shape)}")
  used: set[str] = set()
  entries = []
  for name, size in zip(axes, shape):
    wanted = rules.get(name) if name else None
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted or ())
    wanted = tuple(a for a in wanted if a in on.axis_names and a not in used)
    if not wanted or size % data_parallelism(on, wanted):
      entries.append(None)
      continue
    used.update(wanted)
    entries.append(wanted[0] if len(wanted) == 1 else wanted)
  while entries and entries[-1] is None:  # the form in which compiled programs return them
    entries.pop()
  return PartitionSpec(*entries)


def shardings(axes: ArrayTree, like: ArrayTree, on: Mesh, rules: Rules = FSDP) -> ArrayTree:
  """NamedSharding of every leaf of `like`.

  Args:
    axes: nested dicts with the structure of `like`, whose leaves are tuples of logical axes.
    like: arrays, or shapes.
    on: the mesh.
    rules: logical axes to mesh axes.
  """
  leaf = lambda x, names: NamedSharding(on, partition(tuple(names), x.shape, on, rules))
  return jax.tree.map(leaf, like, axes)


def shard_params(params: ArrayTree, on: Mesh, axes: ArrayTree, rules: Rules = FSDP) -> ArrayTree:
  """Parameters laid out over a mesh by the names of their axes.

  Example:
    >>> from unlearnjax.models import transformer
    >>> fn = transformer("llama", vocab_size=256, dim=32, depth=2, heads=4)
    >>> params = shard_params(fn.init(jax.random.key(0)).params, mesh(data=1), fn.axes)
    >>> tuple(params["blocks"]["mlp"]["up"]["kernel"].sharding.spec)
    (None, 'data')
  """
  return jax.tree.map(put, params, shardings(axes, params, on, rules))


def constrain(x: Array, axes: tuple[str | None, ...], on: Mesh, rules: Rules) -> Array:
  """An intermediate value held to the layout that the names of its axes give."""
  return jax.lax.with_sharding_constraint(x, NamedSharding(on, partition(axes, x.shape, on, rules)))
