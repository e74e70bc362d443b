"""How adapters call a model: which inputs go where, how train mode is passed on, what an example looks like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array, ArrayTree

PRIMARY = ("x", "tokens")
"""The input that is passed by position: the first of these that is there; all others are keywords."""


class Column(NamedTuple):
  """The shape of one input: hashable, so that a model function can be a key of a compilation cache."""

  name: str
  shape: tuple[int, ...]
  dtype: str


def columns(example: ArrayTree) -> tuple[Column, ...]:
  """Names, shapes and dtypes of example inputs: a mapping, or an array that stands for {"x": array}."""
  example = example if isinstance(example, Mapping) else {"x": example}
  return tuple(Column(name, tuple(jnp.shape(v)), str(jnp.result_type(v))) for name, v in sorted(example.items()))


def abstract(example: tuple[Column, ...]) -> dict[str, jax.ShapeDtypeStruct]:
  """Inputs of those shapes, without data."""
  return {c.name: jax.ShapeDtypeStruct(c.shape, c.dtype) for c in example}


def arguments(inputs: Mapping[str, Array], call: Callable[..., Any] | None = None) -> tuple[tuple, dict[str, Any]]:
  """Positional and keyword arguments of the module's call.

  A stream offers its training examples' "task" to every model; a `call` that does not declare it does not get it.

  Raises:
    TypeError: `inputs` is not a mapping.

  Example:
    >>> arguments({"x": 1, "task": 2})
    ((1,), {'task': 2})
    >>> arguments({"x": 1, "task": 2}, lambda x: x)
    ((1,), {})
  """
  if not isinstance(inputs, Mapping):
    raise TypeError(f"inputs must be a mapping such as {{'x': array}}, got {type(inputs).__name__}")
  first = next((name for name in PRIMARY if name in inputs), None)
  rest = {name: value for name, value in inputs.items() if name != first}
  if "task" in rest and call is not None:
    declared = inspect.signature(call).parameters
    if "task" not in declared and all(p.kind != p.VAR_KEYWORD for p in declared.values()):
      del rest["task"]
  return (() if first is None else (inputs[first],)), rest


def mode(call: Callable[..., Any], train: bool) -> dict[str, bool]:
  """The keywords among train, training, deterministic and use_running_average that `call` declares."""
  values = {"train": train, "training": train, "deterministic": not train, "use_running_average": not train}
  return {name: values[name] for name in inspect.signature(call).parameters if name in values}


def named(tree: ArrayTree, what: str, expected: Mapping[str, Any]) -> dict[str, Any]:
  """Leaves of nested dicts by path, checked to be those of `expected`.

  Raises:
    ValueError: leaves that are missing or too many.
  """
  from flax.traverse_util import flatten_dict

  if tree is not None and not isinstance(tree, Mapping) and jax.tree.leaves(tree):
    raise TypeError(f"{what} must be nested dicts, got {type(tree).__name__}")
  flat = {"/".join(map(str, path)): leaf for path, leaf in flatten_dict(dict(tree or {})).items()}
  if flat.keys() != expected.keys():
    missing, extra = sorted(expected.keys() - flat.keys()), sorted(flat.keys() - expected.keys())
    raise ValueError(
      f"{what} must hold the variables of this model: {len(missing)} missing {missing[:8]}, "
      f"{len(extra)} unknown {extra[:8]}"
    )
  return flat


def unnamed(flat: Mapping[str, Any]) -> Any:
  """Nested dicts from leaves by path; () when there are none."""
  from flax.traverse_util import unflatten_dict

  return unflatten_dict(dict(flat), sep="/") if flat else ()


def as_before(value: Array, before: Array) -> Array:
  """`value` in the dtype of the variable that it replaces, so that a scan carry keeps its type."""
  return value if value.dtype == before.dtype else value.astype(before.dtype)
