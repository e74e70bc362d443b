"""Methods that train something else than the weights."""

from __future__ import annotations

from collections.abc import Callable

from unlearnjax.core import Method, Model, ModelFn, Refs, Reparam, UnlearnState, Verbs
from unlearnjax.core.tree import fold_name


def over(reparam: Reparam, verbs: Verbs) -> Verbs:
  """`verbs` of a bound model function, starting from phi: the caller gives an ordinary model.

  Args:
    reparam: what was bound.
    verbs: of a learner built on `reparam.bind(fn)`.
  """

  def init(given: Model, key):
    phi, fixed = reparam.init(fold_name(key, "reparam"), given.params)
    state, refs = verbs.init(given.replace(params=phi), key)
    return state, {**refs, **fixed}

  return verbs._replace(init=init)


def with_refs(fn: ModelFn, *names: str) -> Callable[[UnlearnState, Refs], Model]:
  """`Verbs.model` of a model function that reads refs: those of these names are served, as far as they are there."""

  def model(state: UnlearnState, refs: Refs) -> Model:
    return Model(state.params, state.model_state, {name: refs[name] for name in names if name in refs}, fn)

  return model


def through(reparam: Reparam, method: Method, name: str | None = None) -> Method:
  """Any method on another parameterization: LoRA, a part of the weights, prompts.

  Objectives, masks and combiners of the method see phi where they would see the weights. What is served are the merged
  weights, where the parameterization can be merged.

  Args:
    reparam: what is trained instead, see `unlearnjax.reparam`.
    method: any method whose state holds its model's parameters.
    name: of the result.

  Example:
    >>> from unlearnjax import methods, reparam
    >>> methods.through(reparam.lora(rank=4, where=".*kernel"), methods.npo(), "npo_lora").name
    'npo_lora'
  """

  def bind(fn: ModelFn) -> Verbs:
    inner = reparam.bind(fn)
    verbs = over(reparam, method.bind(inner))

    def model(state: UnlearnState, refs: Refs) -> Model:
      if reparam.merge is None:
        return Model(state.params, state.model_state, dict(refs), inner)
      return Model(reparam.merge(state.params, refs), state.model_state, {}, fn)

    return verbs._replace(model=model)

  return Method(name or f"{method.name}_reparam", bind)
