"""Training again from scratch at every request: the oracle as a service (baseline B1)."""

from __future__ import annotations

import jax

from unlearnjax.core import Guarantee, Method, ModelFn, UnlearnState, Verbs, fit, need_retain, plain_model, zip_roles
from unlearnjax.core.types import EMPTY
from unlearnjax.methods.parts import by_id, everything
from unlearnjax.training import Recipe, trainer


def from_scratch(*, recipe: Recipe) -> Method:
  """Every request, to learn or to forget, trains fresh weights on all that is known.

  The weights are a function of the key and of what is known, whatever came and went: those of `unlearnjax.train` on
  these examples in the order of their ids. `learn` needs `task.seen` for what came before, as `uj.serve` gives it.

  Args:
    recipe: optimizer, epochs, batch size.

  Raises:
    ValueError: a request without a retain set.

  Example:
    >>> import optax
    >>> from_scratch(recipe=Recipe(optax.sgd(0.1), epochs=1)).name
    'from_scratch'
  """

  def bind(fn: ModelFn) -> Verbs:
    step = trainer(fn, recipe)

    def init(model, key):
      return UnlearnState.create(model.params, rng=key, model_state=model.state), EMPTY

    def trained(state, source, run):
      init_key, order_key = jax.random.split(state.rng)
      fresh = fn.init(init_key)
      start = step.init(UnlearnState.create(fresh.params, rng=order_key, model_state=fresh.state, copy=False))
      plan = zip_roles(train=source, batch_size=recipe.batch_size, epochs=recipe.epochs)
      inner, _ = fit(step, start, plan, run=run)
      return state.replace(params=inner.params, model_state=inner.model_state)

    def learn(state, refs, task, run):
      return trained(state, everything(task), run), refs

    def forget(state, refs, request, run):
      return trained(state, by_id(need_retain("from_scratch", request)), run), refs

    return Verbs(init, plain_model(fn), learn=learn, forget=forget)

  promise = Guarantee("exact", statement="the weights are what training on the rest alone gives, bit by bit")
  return Method("from_scratch", bind, promise)
