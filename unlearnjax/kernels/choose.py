"""Which implementation runs."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from unlearnjax.core import check
from unlearnjax.core.types import Array

IMPLEMENTATIONS = ("auto", "xla", "pallas")


def check_implementation(implementation: str) -> None:
  """Raises ValueError for an unknown one."""
  check.one_of("implementation", implementation, IMPLEMENTATIONS)


def is_local(leaves: Sequence[Array]) -> bool:
  """Whether all leaves are known to lie whole on one device.

  An array says so itself. Under `jit` its layout is not known yet, so this holds only where one device is visible, or
  inside `shard_map`.
  """
  return all(_local(x) for x in leaves)


def _local(x: Array) -> bool:
  try:
    return len(x.sharding.device_set) == 1
  except Exception:  # a tracer
    mesh = jax.sharding.get_abstract_mesh()
    manual = not mesh.empty and len(mesh.manual_axes) == len(mesh.axis_names)
    return manual or jax.device_count() == 1
