"""Flax Linen modules as pure functions of plain nested dicts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Model, Outputs, Params, Refs
from unlearnjax.models import calling, sites
from unlearnjax.models.calling import Column

NOT_STATE = ("params", "intermediates")
CACHES = ("cache",)


@dataclasses.dataclass(frozen=True)
class LinenFn:
  """A `ModelFn` over a Linen module; see `from_linen`."""

  module: linen.Module
  example: tuple[Column, ...]

  def __call__(
    self,
    params: Params,
    inputs: Mapping[str, Array],
    *,
    state: ArrayTree = (),
    refs: Refs = EMPTY,
    rng: Array | None = None,
    train: bool = False,
    capture: tuple[str, ...] = (),
    inject: Mapping[str, Callable[[Array], Array]] = EMPTY,
  ) -> Outputs:
    paths, shapes = self._layout
    taps = sites.Taps(capture, inject, paths)
    calling.named(params, "params", shapes["params"])
    calling.named(state, "state", shapes["state"])
    collections = dict(state or {})
    mutable = [name for name in collections if train or name in CACHES]
    rngs = {} if rng is None else {name: fold_name(rng, name) for name in ("params", "dropout")}
    args, kwargs = calling.arguments(inputs, type(self.module).__call__)
    kwargs |= calling.mode(type(self.module).__call__, train)
    with linen.intercept_methods(functools.partial(_tap, taps)):
      logits, after = self.module.apply({"params": params, **collections}, *args, **kwargs, rngs=rngs, mutable=mutable)
    if mutable:
      after = {name: jax.tree.map(calling.as_before, after[name], collections[name]) for name in mutable}
      state = {**collections, **after}
    return Outputs(logits, taps.finish(), state)

  def init(self, key: Array) -> Model:
    """A fresh model of this architecture."""
    return self.wrap(self._variables(key))

  def wrap(self, variables: Mapping[str, Any]) -> Model:
    """The variables of a trained module, `{"params": ..., "batch_stats": ...}`, as a `Model`.

    Raises:
      ValueError: variables that this architecture does not have, or lacks.
    """
    from flax.core import unfreeze

    variables = unfreeze(variables)
    state = {name: tree for name, tree in variables.items() if name not in NOT_STATE}
    params = variables.get("params", {})
    shapes = self._layout[1]
    calling.named(params, "params", shapes["params"])
    calling.named(state, "state", shapes["state"])
    return Model(params, state or (), fn=self)

  @property
  def sites(self) -> tuple[str, ...]:
    """Paths of all submodules that can be captured or injected."""
    return self._layout[0]

  def _variables(self, key: Array) -> dict[str, Any]:
    args, kwargs = calling.arguments({c.name: jnp.zeros(c.shape, c.dtype) for c in self.example})
    kwargs |= calling.mode(type(self.module).__call__, False)
    return self.module.init({"params": key, "dropout": fold_name(key, "dropout")}, *args, **kwargs)

  @functools.cached_property
  def _layout(self) -> tuple[tuple[str, ...], dict[str, dict[str, Any]]]:
    """Submodule paths in the order of their calls, and the names of all variables."""
    taps = sites.Taps((), {}, None)
    with linen.intercept_methods(functools.partial(_tap, taps)):
      variables = jax.eval_shape(self._variables, jax.random.key(0))
    paths = tuple(site for site in taps.reached if not site.endswith(sites.INPUT))
    flat = lambda tree: {jax.tree_util.keystr(p, simple=True, separator="/"): v for p, v in _leaves(tree)}
    state = {name: tree for name, tree in variables.items() if name not in NOT_STATE}
    return paths, {"params": flat(variables.get("params", {})), "state": flat(state)}


def from_linen(module: linen.Module, example_inputs: ArrayTree) -> LinenFn:
  """A Linen module as a pure `ModelFn`.

  Parameters are its "params" collection; the state holds all other collections ("batch_stats", ...) by name. In
  training the state changes; in evaluation only a "cache" does. `rng` feeds dropout. Further inputs than "x" are
  keywords, and train, training, deterministic or use_running_average are passed where the module's call declares them.
  A site is the path of a submodule, `"Dense_0"` or `"block/Dense_1"`; those inside lifted transformations (nn.scan,
  nn.remat) cannot be reached.

  Args:
    module: unbound. Its fields must be hashable (tuples, not lists): functions of equal modules share programs.
    example_inputs: an input, or a mapping of inputs, of which only shapes and dtypes count.

  Raises:
    TypeError: not a Linen module, or one that cannot be hashed.
    ValueError: when called, parameters or state of another structure, or a site that does not exist.

  Example:
    >>> fn = from_linen(linen.Dense(2), jnp.zeros((1, 3)))
    >>> model = fn.init(jax.random.key(0))
    >>> sorted(model.params), model({"x": jnp.ones((5, 3))}).logits.shape
    (['bias', 'kernel'], (5, 2))
  """
  if not isinstance(module, linen.Module):
    raise TypeError(f"module must be a flax.linen.Module, got {type(module).__name__}")
  try:
    hash(module)
  except TypeError as e:
    raise TypeError(f"the fields of {type(module).__name__} must be hashable (tuples instead of lists): {e}") from e
  return LinenFn(module, calling.columns(example_inputs))


def _leaves(tree: ArrayTree) -> list:
  return jax.tree_util.tree_leaves_with_path(tree)


def _tap(taps: sites.Taps, call: Callable[..., Any], args: tuple, kwargs: dict, context: Any) -> Any:
  """Taps every submodule's `__call__`."""
  path = "/".join(context.module.path)
  if not path or context.method_name != "__call__":
    return call(*args, **kwargs)
  return taps.around(path, call, args, kwargs)
