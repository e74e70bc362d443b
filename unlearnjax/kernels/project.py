"""Inner products with T stored gradients, and the rank-T update that follows from them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree
from unlearnjax.kernels.choose import check_implementation, is_local, use_pallas
from unlearnjax.kernels.elementwise import wide_dtype
from unlearnjax.kernels.gram import gram_pallas
from unlearnjax.kernels.stream import stream

GRAM_TASKS = 128  # more do not fit a tensor core's tile, and the product is no longer bound by memory
COLUMNS = 1 << 13  # of 20 stored gradients fill 640 KiB
UPDATE_TASKS = 64  # terms that are worth writing out


def gram(memory: ArrayTree, current: ArrayTree, *, implementation: str = "auto") -> tuple[Array, Array]:
  """G G^T and G g for T stored gradients G and the current one g, over all leaves together.

  What GEM, A-GEM and orthogonal projections solve their T x T problems with.

  Args:
    memory: tree like `current` with a leading axis of T on every leaf.
    current: tree of arrays.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    (f32[T, T], f32[T]), float64 where a leaf is; products of bfloat16 are summed in float32.

  Raises:
    ValueError: trees that do not fit, no leaf, or leaves that disagree on T.

  Example:
    >>> memory = {"a": jnp.array([[1.0, 0.0], [0.0, 2.0]]), "b": jnp.array([1.0, 1.0])}
    >>> products, inner = gram(memory, {"a": jnp.array([3.0, 1.0]), "b": jnp.array(1.0)})
    >>> products.tolist(), inner.tolist()
    ([[2.0, 1.0], [1.0, 5.0]], [4.0, 3.0])
  """
  check_implementation(implementation)
  check_memory(memory, current)
  parts = [_gram_leaf(m, g, implementation) for m, g in zip(jax.tree.leaves(memory), jax.tree.leaves(current))]
  return sum(p for p, _ in parts), sum(p for _, p in parts)


def rank_update(
  current: ArrayTree, memory: ArrayTree, coefficients: Array, *, implementation: str = "auto"
) -> ArrayTree:
  """g + G^T v: the current gradient plus a combination of the stored ones.

  Args:
    current: tree of arrays.
    memory: tree like `current` with a leading axis of T on every leaf.
    coefficients: f[T].
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    a tree like `current`, in its dtypes; sums are in float32 or wider.

  Raises:
    ValueError: trees that do not fit, or coefficients of another shape.

  Example:
    >>> memory = {"w": jnp.array([[1.0, 0.0], [0.0, 2.0]])}
    >>> rank_update({"w": jnp.array([3.0, 1.0])}, memory, jnp.array([-3.0, 0.5]))["w"].tolist()
    [0.0, 2.0]
  """
  check_implementation(implementation)
  tasks = check_memory(memory, current)
  if jnp.shape(coefficients) != (tasks,):
    raise ValueError(f"coefficients must be f[{tasks}], one a stored gradient, got shape {jnp.shape(coefficients)}")
  return jax.tree.map(lambda g, m: _update_leaf(g, m, coefficients, implementation), current, memory)


def check_memory(memory: ArrayTree, current: ArrayTree) -> int:
  """T, the leading axis that all leaves of `memory` have in front of the shapes of `current`."""
  got, want = jax.tree.structure(memory), jax.tree.structure(current)
  if got != want:
    raise ValueError(f"memory must have the structure of current, got {got} and expected {want}")
  if not want.num_leaves:
    raise ValueError("memory has no leaves")
  tasks = None
  for path, m, g in zip(paths(memory), jax.tree.leaves(memory), jax.tree.leaves(current)):
    shape = jnp.shape(m)
    tasks = (shape[0] if shape else 0) if tasks is None else tasks
    if not shape or shape != (tasks, *jnp.shape(g)):
      raise ValueError(f"memory at {path!r} has shape {shape}, expected {('T', *jnp.shape(g))} with T = {tasks}")
  return tasks


def _gram_leaf(memory: Array, current: Array, implementation: str) -> tuple[Array, Array]:
  if memory.shape[0] <= GRAM_TASKS and use_pallas(implementation, current, memory):
    return gram_pallas(memory, current)
  common = jnp.result_type(memory, current)
  memory, current = memory.astype(common), current.astype(common)
  if current.size >= 2 * COLUMNS and jax.default_backend() == "cpu" and is_local((memory, current)):
    return _gram_by_columns(memory.reshape(memory.shape[0], -1), current.reshape(-1))
  # all axes are contracted at once: a reshape of a sharded leaf would gather it
  return _products(memory, current)


def _products(memory: Array, current: Array) -> tuple[Array, Array]:
  dot = lambda a, b, left, right: jax.lax.dot_general(
    a, b, ((left, right), ((), ())), precision=jax.lax.Precision.HIGHEST, preferred_element_type=wide_dtype(a)
  )
  rest, whole = tuple(range(1, memory.ndim)), tuple(range(current.ndim))
  return dot(memory, memory, rest, rest), dot(memory, current, rest, whole)


def _gram_by_columns(memory: Array, current: Array) -> tuple[Array, Array]:
  """The same of [T, n] and [n], some columns at a time: both factors of the product then come from the cache."""
  size = current.size

  def part(start, columns):
    rows = jax.lax.dynamic_slice(memory, (0, start), (memory.shape[0], columns))
    return _products(rows, jax.lax.dynamic_slice(current, (start,), (columns,)))

  add = lambda step, total: jax.tree.map(jnp.add, total, part(step * COLUMNS, COLUMNS))
  left = size % COLUMNS
  return jax.lax.fori_loop(0, size // COLUMNS, add, part(size - left, left))


def _update_leaf(current: Array, memory: Array, coefficients: Array, implementation: str) -> Array:
  tasks, wide = memory.shape[0], wide_dtype(current, memory, coefficients)

  def combined(values, current, rows):
    total = current.astype(wide)
    for value, row in zip(values, rows):
      total = total + value * row.astype(wide)
    return total.astype(current.dtype)

  if tasks <= UPDATE_TASKS and use_pallas(implementation, current, memory):
    body = lambda values, blocks, stacks: ((combined(values[0], blocks[0], stacks[0]),), ())
    return stream(body, [coefficients.astype(wide)], [current], stacked=[memory], outs=(current.dtype,))[0][0]
  if tasks > UPDATE_TASKS:
    sum_rows = jnp.tensordot(coefficients.astype(wide), memory.astype(wide), axes=1, precision="highest")
    return (current.astype(wide) + sum_rows).astype(current.dtype)
  return combined(coefficients.astype(wide), current, memory)
