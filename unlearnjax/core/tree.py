"""Small helpers on pytrees and names that the core shares."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree


def name_id(name: str) -> int:
  """A stable 31-bit number for a name: the same in every process, unlike `hash`."""
  return zlib.crc32(name.encode()) & 0x7FFFFFFF


def fold_name(key: Array, *names: str) -> Array:
  """Folds names into a key, so that independent parts draw independent numbers whatever their order."""
  for name in names:
    key = jax.random.fold_in(key, name_id(name))
  return key


def get_path(tree: ArrayTree, path: tuple[str, ...]) -> ArrayTree:
  """The sub-tree of nested mappings at `path`."""
  for depth, key in enumerate(path):
    if key not in tree:
      raise ValueError(f"no sub-tree {'/'.join(path[: depth + 1])!r}; found {sorted(tree)}")
    tree = tree[key]
  return tree


def set_path(tree: ArrayTree, path: tuple[str, ...], value: ArrayTree) -> ArrayTree:
  """A copy of nested mappings with the sub-tree at `path` replaced."""
  if not path:
    return value
  return {**tree, path[0]: set_path(tree[path[0]], path[1:], value)}


def cast_like(tree: ArrayTree, like: ArrayTree) -> ArrayTree:
  """Leaves of `tree` in the dtypes of `like`."""
  return jax.tree.map(lambda a, b: a.astype(b.dtype), tree, like)


def strong(tree: ArrayTree) -> ArrayTree:
  """Leaves as arrays without weak types, which would change after the first step and compile it again."""

  def leaf(x):
    x = jnp.asarray(x)
    return jax.lax.convert_element_type(x, x.dtype) if getattr(x, "weak_type", False) else x

  return jax.tree.map(leaf, tree)


def unshared(tree: ArrayTree, *others: ArrayTree) -> ArrayTree:
  """Leaves of `tree` that occur twice in it, or in `others`, are copied: an array can be donated only once.

  optax states often start as the parameters themselves, and references as the weights they refer to.
  """
  seen = {id(x) for x in jax.tree.leaves(others)}

  def leaf(x):
    if id(x) in seen:
      return jnp.copy(x)
    seen.add(id(x))
    return x

  return jax.tree.map(leaf, tree)


def all_finite(tree: ArrayTree) -> Array:
  """bool scalar: every floating leaf is finite."""
  checks = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
  return jnp.stack(checks).all() if checks else jnp.array(True)


def paths(tree: ArrayTree) -> list[str]:
  """Leaf paths as `blocks/0/conv/kernel`, in leaf order."""
  flat = jax.tree_util.tree_leaves_with_path(tree)
  return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in flat]


def matching(tree: ArrayTree, regex: str, argument: str = "regex") -> ArrayTree:
  """A mask with the structure of `tree`: True where `regex` matches the whole name of the leaf.

  Raises:
    ValueError: the expression is not valid, or matches no leaf; the message names `argument`.
  """
  names, pattern = paths(tree), check.regex(argument, regex)
  hits = [pattern.fullmatch(name) is not None for name in names]
  if not any(hits):
    raise ValueError(f"{argument} {regex!r} matches no whole leaf name; there are: {', '.join(names)}")
  return jax.tree.unflatten(jax.tree.structure(tree), hits)
