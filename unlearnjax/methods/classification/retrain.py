"""Training again without the forget set: the oracle that every method is measured against (baseline B1)."""

from __future__ import annotations

import jax

from unlearnjax.core import (
  Guarantee,
  Method,
  ModelFn,
  UnlearnState,
  Verbs,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.training import Recipe, trainer


def retrain(*, recipe: Recipe) -> Method:
  """Forgets the weights and trains fresh ones on the retain set, with the recipe of the original model.

  theta_r = Train(R): the initialisation is drawn anew, a removed class keeps its output. It equals
  `unlearnjax.train(fn, retain, recipe, key=key)` bit for bit. Models with batch statistics train in train mode.

  Args:
    recipe: how the original model was trained. Schedules that read the progress keep their shape on less data.

  Raises:
    ValueError: a request without a retain set.

  Example:
    >>> import optax
    >>> retrain(recipe=Recipe(optax.sgd(0.1, momentum=0.9), epochs=5)).name
    'retrain'
  """

  def bind(fn: ModelFn) -> Verbs:
    step = trainer(fn, recipe)

    def forget(state, refs, request, run):
      source = need_retain("retrain", request)
      init_key, state_key = jax.random.split(state.rng)
      fresh = fn.init(init_key)
      start = step.init(UnlearnState.create(fresh.params, rng=state_key, model_state=fresh.state, copy=False))
      plan = zip_roles(train=source, batch_size=recipe.batch_size, epochs=recipe.epochs)
      return fit(step, start, plan, refs, run)[0].replace(rng=state.rng), refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  promise = Guarantee("exact", statement="the weights are what training on the retain set alone gives, bit by bit")
  return Method("retrain", bind, promise)
