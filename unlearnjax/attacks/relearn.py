"""Relearn time: how many training steps bring a forgotten set back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import losses, objectives
from unlearnjax.core import (
  Model,
  ModelFn,
  Run,
  Transform,
  UnlearnState,
  View,
  as_examples,
  check,
  descend,
  fit,
  role_batch,
  sequence,
  zip_roles,
)
from unlearnjax.core.types import Array, Loss, Objective
from unlearnjax.metrics.relearn import steps_to

ADAM = optax.adam(1e-3)


def relearn(
  model: Model,
  source: Any,
  *,
  target_loss: float,
  key: Array,
  measured: Any = None,
  loss: Loss = losses.cross_entropy,
  objective: Callable[..., Objective] | None = None,
  tx: optax.GradientTransformation = ADAM,
  batch_size: int = 64,
  max_epochs: int = 10,
  run: Run | None = None,
) -> float:
  """Mini-batch steps until the loss on the forgotten examples is down to that of the original model.

  Training goes on from a copy of the model; after each step the mean loss on all of `measured` is taken, in eval mode.
  Knowledge that was only hidden is back after a few steps. Divide by the steps of the retrained model with
  `metrics.anamnesis_index(relearn(unlearned, ...), relearn(retrained, ...))`: 1 is ideal, far below 1 the knowledge was
  still there, far above 1 the model resists, which itself tells what was forgotten. Source: Chundawat et al. 2023,
  arXiv:2201.05629, which trains on all data with Adam; Golatkar et al. 2020, arXiv:1911.04933, train on a sample.

  Args:
    model: the unlearned model; it is not changed.
    source: what is trained on, a `Source`: all training data, or the forget set.
    target_loss: the original model's mean loss on `measured`, with a tolerance: plus 1e-5, or times 1.05 (regression).
    key: a typed key; decides the order of data. Use the same for all models that are compared.
    measured: the forgotten examples; `source` by default. They pass through the model whole at every step: give a
      sample of a large set.
    loss: per example, `(outputs, targets) -> f[B]`, of the column "y".
    objective: in the place of a loss, e.g. `objectives.nll` for language models: `(fn, train=bool) -> Objective`.
    tx: optimizer; Adam 1e-3 by default. Pass one value for all models: it is compiled once for each.
    batch_size: rows of a step.
    max_epochs: passes over `source` before it gives up.
    run: progress, mesh, ledger; with `run.out` it resumes.

  Returns:
    a whole number of steps, 0 for a model that needs none; infinity where `max_epochs` do not suffice.

  Raises:
    ValueError: an empty source, a target that is not finite, batch_size or max_epochs < 1.

  Example:
    >>> import jax
    >>> import unlearnjax as uj
    >>> data = uj.data.load("digits")
    >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10)
    >>> fresh = fn.init(jax.random.key(0))
    >>> relearn(fresh, data.train, target_loss=100.0, key=jax.random.key(1))
    0
    >>> 5 < relearn(fresh, data.train, target_loss=1.0, key=jax.random.key(1), max_epochs=2) < 46
    True
  """
  check.positive("max_epochs", max_epochs)
  if not np.isfinite(target_loss):
    raise ValueError(f"target_loss must be finite, got {target_loss}")
  source = as_examples(source)
  measured = source if measured is None else as_examples(measured)
  for name, part in (("source", source), ("measured", measured)):
    if not len(part):
      raise ValueError(f"{name} is empty: it needs at least one example")
  step, watch = _relearner(model.fn, loss, objective, tx)
  seen = UnlearnState.create(model.params, rng=key, model_state=model.state, copy=False)
  start = float(watch(seen, {"measured": role_batch(measured)}, model.refs)[1]["measured/loss"])
  if start <= target_loss:
    return 0
  state = step.init(UnlearnState.create(model.params, rng=key, model_state=model.state))
  sizes = {"train": batch_size, "measured": len(measured)}
  plan = zip_roles(anchor="train", batch_size=sizes, epochs=max_epochs, train=source, measured=measured)
  reached = lambda history: bool(np.min(history["measured/loss"]) <= target_loss)
  _, history = fit(step, state, plan, model.refs, run, name="relearn", until=reached)
  return steps_to([start, *history["measured/loss"]], target_loss)


@functools.lru_cache(maxsize=32)
def _relearner(fn: ModelFn, loss: Loss, objective: Callable[..., Objective] | None, tx) -> tuple[Transform, Callable]:
  """(a step of training that reports the loss on what is measured, that report alone); for all models compared."""
  build = functools.partial(objectives.supervised, loss=loss) if objective is None else objective
  watch = _watch(build(fn, train=False))
  return sequence(descend({"train": build(fn)}, tx, state_from="train"), watch), jax.jit(watch.update)


def _watch(objective: Objective) -> Transform:
  """Reports `measured/loss` of the state and changes nothing."""

  def update(state, batch, refs):
    view = View(state.step, state.rng, refs, state.slots, state.model_state)
    value, _ = objective(state.params, batch["measured"], view)
    return state, {"measured/loss": value, "ok": jnp.isfinite(value)}

  return Transform(lambda state: state, update)
