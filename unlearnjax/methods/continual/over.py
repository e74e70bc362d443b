"""Learners that train something else than the weights."""

from __future__ import annotations

from collections.abc import Callable

from unlearnjax.core import Model, ModelFn, Refs, Reparam, UnlearnState, Verbs
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
