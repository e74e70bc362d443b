"""Attacks on a model that claims to have forgotten, the same for all models: relearning and rounding."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import optax

import unlearnjax as uj
from unlearnjax import attacks, metrics, objectives


def attacked(setting, model: uj.Model) -> dict[str, float]:
  """P on the forget set, in percent, after each attack."""
  forget = setting.sets["forget"]
  rounded = attacks.quantize(model.params, 4, where=r"blocks/.*kernel")
  return {
    "relearned": _probability(relearned(setting, model), forget[1::2]),
    "quantized": _probability(model.replace(params=rounded), forget),
  }


def relearned(setting, model: uj.Model) -> uj.Model:
  """The model after a few steps on every second question of the forget set: what comes back of the others?"""
  config = setting.config
  step = _relearner(model.fn, config.relearn_rate)
  state = step.init(uj.UnlearnState.create(model.params, rng=setting.key("relearn"), model_state=model.state))
  half = setting.sets["forget"][::2]
  epochs = -(-config.relearn_steps // -(-len(half) // config.batch_size))
  plan = uj.zip_roles(train=half, batch_size=config.batch_size, epochs=epochs)
  state, _ = uj.fit(step, state, plan, model.refs)
  return model.replace(params=state.params, state=state.model_state)


@functools.cache
def _relearner(fn: Any, rate: float) -> uj.Transform:
  return uj.descend({"train": objectives.nll(fn)}, optax.adam(rate), state_from="train")


def _probability(model: uj.Model, source: uj.Examples) -> float:
  said = metrics.answer_scores(model, source)
  return 100 * float(np.mean(jax.device_get(metrics.answer_probability(said.mean_nll))))
