"""Which implementation runs."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array

IMPLEMENTATIONS = ("auto", "xla", "pallas")
WORTH_A_KERNEL = 1 << 16
_NARROW = tuple(map(jnp.dtype, ("float32", "bfloat16", "float16", "int32", "bool")))


def check_implementation(implementation: str) -> None:
  """Raises ValueError for an unknown one."""
  check.one_of("implementation", implementation, IMPLEMENTATIONS)


def use_pallas(implementation: str, *arrays: Array) -> bool:
  """Whether a kernel takes these arrays, which belong to one leaf."""
  x = arrays[0]
  able = 0 < x.size < 1 << 31 and all(jnp.dtype(a.dtype) in _NARROW for a in arrays)
  if implementation == "auto":
    worth = x.size >= WORTH_A_KERNEL and jax.default_backend() in ("tpu", "gpu")
    return able and worth and is_local(arrays)
  return able and implementation == "pallas"


def is_local(leaves: Sequence[Array]) -> bool:
  """Whether all leaves are known to lie whole on one device.

  An array says so itself. Under `jit` its layout is not known yet, so this holds only where one device is visible, or
  inside `shard_map`.
  """
  return all(_local(x) for x in leaves)


def _local(x: Array) -> bool:
  try:
    return len(x.sharding.device_set) == 1
  except (AttributeError, TypeError, ValueError, jax.errors.ConcretizationTypeError):  # a tracer
    mesh = jax.sharding.get_abstract_mesh()
    manual = not mesh.empty and len(mesh.manual_axes) == len(mesh.axis_names)
    return manual or jax.device_count() == 1
