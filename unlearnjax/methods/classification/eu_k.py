"""EU-k: exact unlearning of the last k layers. Goel et al. 2022, arXiv:2201.06640 (baseline B11)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from unlearnjax import edits, updates
from unlearnjax.core import (
  Method,
  ModelFn,
  UnlearnState,
  Verbs,
  check,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.methods.classification.cf_k import hold_state, last_layers
from unlearnjax.training import Recipe


def eu_k(*, recipe: Recipe, k: int = 1, order: Sequence[str] | None = None) -> Method:
  """Draws the last k layers anew, once, and trains them on the retain set; all others stay bit-equal.

  The last k convolutions and linear maps, and normalisation layers behind the first of them, are initialised afresh and
  trained by the recipe of the original model. What the frozen layers know of the forget set stays. Trains in train
  mode; the batch statistics of frozen layers stay as they are. k = all layers is `retrain` up to rounding.

  Args:
    recipe: how the original model was trained. A mask is applied to the updates of its optimizer.
    k: layers that move, from 1 to the number of layers with weights.
    order: paths of the submodules that own parameters, in forward order; observed for models of `from_nnx` and
      `from_linen`, to be written down for others.

  Raises:
    ValueError: k out of range, a model whose order cannot be observed, or a request without a retain set.

  Example:
    >>> eu_k(recipe=Recipe(optax.sgd(0.1, momentum=0.9), epochs=5), k=2).name
    'eu_k'
  """
  check.positive("k", k)

  def bind(fn: ModelFn) -> Verbs:
    objective = hold_state(recipe.objective(fn))
    step = descend({"train": objective}, optax.chain(recipe.tx, updates.mask_by("free")), state_from="train")

    def forget(state, refs, request, run):
      source = need_retain("eu_k", request)
      init_key, state_key = jax.random.split(state.rng)
      fresh = fn.init(init_key)
      params = edits.reinitialize(state.params, fresh.params, refs["free"])
      model_state = jax.tree.map(jnp.where, refs["free_state"], fresh.state, state.model_state)
      start = step.init(UnlearnState.create(params, rng=state_key, model_state=model_state, copy=False))
      plan = zip_roles(train=source, batch_size=recipe.batch_size, epochs=recipe.epochs)
      return fit(step, start, plan, refs, run)[0].replace(rng=state.rng), refs

    return Verbs(plain_init(step, refs=lambda model, key: last_layers(model, k, order)), plain_model(fn), forget=forget)

  return Method("eu_k", bind)
