"""Argument checks whose messages name the argument, what it got and what it expected."""

from __future__ import annotations

import jax
import numpy as np


def _known(name: str, value) -> bool:
  """Whether a number can be looked at: one that is traced passes unchecked, what is no number does not pass."""
  if isinstance(value, jax.core.Tracer):
    return False
  if isinstance(value, (str, bytes)) or value is None or np.ndim(value):
    raise ValueError(f"{name} must be a number, got {value!r}")
  return True


def fraction(name: str, value: float, *, zero: bool = False, one: bool = True) -> None:
  """`value` must lie in (0, 1], or with the ends given."""
  if not _known(name, value):
    return
  low, high = ("[" if zero else "("), ("]" if one else ")")
  if not ((0 <= value if zero else 0 < value) and (value <= 1 if one else value < 1)):
    raise ValueError(f"{name} must be in {low}0, 1{high}, got {value}")


def positive(name: str, value: float, *, zero: bool = False) -> None:
  """`value` must be > 0 (or >= 0)."""
  if _known(name, value) and not (value >= 0 if zero else value > 0):
    raise ValueError(f"{name} must be {'>= 0' if zero else '> 0'}, got {value}")


def one_of(name: str, value, choices) -> None:
  """`value` must be one of `choices`."""
  if value not in choices:
    raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}; got {value!r}")


def same_structure(name: str, tree, expected, other: str) -> None:
  """`tree` must have the structure and leaf shapes of `expected`."""
  got, want = jax.tree.structure(tree), jax.tree.structure(expected)
  if got != want:
    raise ValueError(f"{name} must have the structure of {other}, got {got} and expected {want}")
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(expected)):
    if np.shape(a) != np.shape(b):
      where = jax.tree_util.keystr(path, simple=True, separator="/")
      raise ValueError(f"{name} at {where!r} has shape {np.shape(a)}, {other} has {np.shape(b)}")
