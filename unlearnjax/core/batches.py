"""From host-made row numbers to role batches on the device."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unlearnjax.core.source import Examples
from unlearnjax.core.types import INPUT_KEYS, Array, Batch, RoleBatch
from unlearnjax.sharding import put

Layout = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
"""For each role, its columns and the table each one reads: hashable, so that it can be static under jit."""

_RESIDENT: dict[tuple, tuple[weakref.ref, Array]] = {}


def tables_of(
  sources: Mapping[str, Examples], capacity: int | None = None, mesh: Mesh | None = None
) -> tuple[Layout, dict[str, Array]]:
  """Puts every distinct column on the device once, whoever reads it.

  Returns:
    the layout, and the tables [capacity, ...] by name.
  """
  names: dict[int, str] = {}
  tables: dict[str, Array] = {}
  layout = []
  for role, source in sorted(sources.items()):
    columns = []
    for column, array in sorted(source.columns.items()):
      if id(array) not in names:
        names[id(array)] = f"{column}:{sum(n.rpartition(':')[0] == column for n in names.values())}"
        tables[names[id(array)]] = _resident(array, capacity, mesh)
      columns.append((column, names[id(array)]))
    layout.append((role, tuple(columns)))
  return tuple(layout), tables


def _resident(array: np.ndarray, capacity: int | None, mesh: Mesh | None) -> Array:
  """The device copy of a host array, kept as long as the host array lives; the host array becomes read-only, as a
  change in place would not reach the copy."""
  rows = _coarse(len(array)) if capacity is None else capacity
  if rows < len(array):
    raise ValueError(f"capacity is {rows}, but a table has {len(array)} rows")
  key = (id(array), rows, mesh)
  if key in _RESIDENT and _RESIDENT[key][0]() is array:
    return _RESIDENT[key][1]
  if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
    raise TypeError(f"columns must be numeric to be put on a device, got dtype {array.dtype}")
  padded = np.pad(array, [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1))
  padded = padded.astype(jax.dtypes.canonicalize_dtype(padded.dtype), copy=False)
  placed = jnp.asarray(padded) if mesh is None else put(padded, NamedSharding(mesh, PartitionSpec()))
  array.flags.writeable = False
  _RESIDENT[key] = (weakref.ref(array, lambda _: _RESIDENT.pop(key, None)), placed)
  return placed


def _coarse(size: int) -> int:
  """Rounds up to a power of two, and above 4,096 to an eighth of one: nearby sizes share one compilation."""
  step = 1 << max(size - 1, 0).bit_length()
  return step if size <= 4096 else -(-size // (step // 16)) * (step // 16)


def gather(layout: Layout, tables: Mapping[str, Array], index: Mapping[str, Array]) -> Batch:
  """Role batches from row numbers int32[..., B]; rows of -1 are padding and come with `valid` False, `id` -1."""
  batch = {}
  for role, columns in layout:
    rows = index[role]
    valid = rows >= 0
    part = {column: tables[table][jnp.maximum(rows, 0)] for column, table in columns}
    batch[role] = as_role_batch(part, valid)
  return batch


def as_role_batch(columns: Mapping[str, Array], valid: Array) -> RoleBatch:
  """Sorts columns into model inputs, targets and bookkeeping."""
  part = {k: v for k, v in columns.items() if k not in INPUT_KEYS}
  part["inputs"] = {k: v for k, v in columns.items() if k in INPUT_KEYS}
  part["id"] = jnp.where(valid, part["id"], -1)
  part["valid"] = valid
  return part


def role_batch(source: Examples, rows: slice | np.ndarray | None = None) -> RoleBatch:
  """All (or some) examples of a source as one role batch: for tests, examples of shapes and small data.

  Example:
    >>> data = Examples({"x": np.zeros((4, 2), np.float32), "y": np.arange(4)})
    >>> sorted(role_batch(data, slice(2)))
    ['id', 'inputs', 'valid', 'y']
  """
  source = source if rows is None else source[rows]
  columns = {k: jnp.asarray(source.column(k)) for k in source.columns}
  return as_role_batch(columns, jnp.ones(len(source), bool))


def pad_rows(index: np.ndarray, multiple: int) -> np.ndarray:
  """Rounds the last axis up to a multiple, with -1."""
  short = -index.shape[-1] % multiple
  return index if not short else np.pad(index, [(0, 0)] * (index.ndim - 1) + [(0, short)], constant_values=-1)
