"""Argument checks whose messages name the argument, what it got and what it expected."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

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


def regex(name: str, value: str) -> re.Pattern:
  """The regular expression, compiled. Raises ValueError: it is none."""
  try:
    return re.compile(value)
  except re.error as error:
    raise ValueError(f"{name} must be a regular expression, got {value!r}: {error}") from error


def objective(name: str, f) -> None:
  """`f` must look like an objective: not a loss, a model function, or the builder of an objective without its model."""
  form = f"{name} must be an objective, a function (params, role batch, view) -> (mean, aux)"
  what = getattr(f, "__name__", type(f).__name__)
  if not callable(f):
    raise ValueError(f"{form}, got {f!r}")
  if str(getattr(f, "__module__", "")).startswith("unlearnjax.losses"):
    raise ValueError(f"{form}, got the loss {what}: objectives.supervised(fn, loss) binds one to a model")
  try:
    inspect.signature(f).bind(None, None, None)
  except TypeError:
    raise ValueError(f"{form}, got {what}: objectives.cross_entropy(fn) makes one of a model function") from None
  except ValueError:  # a callable that tells nothing about its arguments
    pass


def objectives(roles) -> None:
  """`roles` must be a mapping of at least one role to objectives."""
  if not isinstance(roles, Mapping) or not roles:
    raise ValueError(f"objectives must be a mapping {{role: objective}} with at least one role, got {roles!r}")
  for role, f in roles.items():
    objective(f"objectives[{role!r}]", f)


def optimizer(name: str, tx) -> None:
  """`tx` must be an optax transformation: a step size alone is none, and neither is `optax.sgd` before its call."""
  if not hasattr(tx, "update") or not hasattr(tx, "init"):
    raise ValueError(f"{name} must be an optax transformation such as optax.sgd(0.1), got {tx!r}")


def kind(name: str, value, expected: type | tuple[type, ...], example: str) -> None:
  """`value` must be of a type; the message shows how to come by one.

  Raises:
    TypeError: it is not.
  """
  if not isinstance(value, expected):
    got = f"the function {value.__name__}" if inspect.isfunction(value) else type(value).__name__
    raise TypeError(f"{name} must be {example}, got {got}")


def key(name: str, value) -> None:
  """`value` must be a typed key. Raises TypeError: an integer, or a key of the old kind."""
  dtype = getattr(value, "dtype", None)
  if dtype is None or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
    got = type(value).__name__ if dtype is None else f"dtype {dtype}"
    raise TypeError(f"{name} must be a typed key from jax.random.key(seed), got {got}")
