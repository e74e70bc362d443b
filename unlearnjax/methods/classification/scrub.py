"""SCRUB: a teacher that is left and followed. Kurmanji et al., NeurIPS 2023, arXiv:2302.09880 (baseline B8)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import optax

from unlearnjax import edits, objectives, updates
from unlearnjax.core import (
  Method,
  ModelFn,
  Phase,
  Plan,
  Transform,
  UnlearnState,
  Verbs,
  check,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  switch,
  zip_roles,
)
from unlearnjax.methods.parts import restart, teacher

BATCH = {"retain": 32, "forget": 64}


def scrub(
  *,
  alpha: float = 0.5,
  gamma: float = 1.0,
  temperature: float = 2.0,
  max_epochs: int = 3,
  epochs: int = 10,
  perturb: float = 1e-3,
  tx: optax.GradientTransformation | None = None,
  batch_size: int | Mapping[str, int] = BATCH,
) -> Method:
  """Leaves the original model on the forget set, and follows it on the retain set, in turns.

  Epochs 1..max_epochs: a pass over F minimising -KL_T, then a pass over R minimising gamma CE + alpha KL_T; later
  epochs: the pass over R alone. KL_T = T^2 mean KL(softmax(z_o / T) || softmax(z / T)), z_o of the frozen original.
  Both passes share one optimizer. Models with batch statistics: the student trains in train mode, the teacher is in
  eval mode.

  In a deterministic network the student starts as its own teacher, where the divergence and its gradient are exactly
  zero: the first pass over F would stand still. Batch statistics or dropout break the tie in the paper's networks;
  `perturb` does it in all.

  Args:
    alpha: weight of the divergence on R, >= 0.
    gamma: weight of the cross entropy on R, >= 0.
    temperature: T > 0; 2 for small data, 4 for large.
    max_epochs: how many epochs have a pass over F, in [0, epochs]; 0 with alpha 0 and perturb 0 is fine-tuning.
    epochs: passes over R.
    perturb: the start is theta_o + perturb rms(theta_o) N(0, I), rms of each leaf; 0 starts at theta_o itself.
    tx: optimizer; by default Adam 5e-4 with L2 decay 0.1 in the gradient, a tenth of the step after the fractions .5,
      .8 and .9 of the plan.
    batch_size: rows of a step, for both roles or by role; 64 of F and 32 of R by default.

  Raises:
    ValueError: a weight, temperature or number of epochs out of range, or a request without a retain set.

  Example:
    >>> scrub(temperature=4.0, epochs=5).name
    'scrub'
  """
  check_settings(alpha, gamma, temperature, max_epochs, epochs, perturb)

  def bind(fn: ModelFn) -> Verbs:
    step = game(fn, tx, alpha=alpha, gamma=gamma, temperature=temperature)

    def forget(state, refs, request, run):
      refs = {"teacher": teacher(state)}
      plan = rounds(request.forget, need_retain("scrub", request), max_epochs, epochs, batch_size)
      return fit(step, nudged(restart(state, step), perturb), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=lambda model, key: {"teacher": teacher(model)}), plain_model(fn), forget=forget)

  return Method("scrub", bind)


def game(
  fn: ModelFn, tx: optax.GradientTransformation | None, *, alpha: float, gamma: float, temperature: float
) -> Transform:
  """The two kinds of steps by phase, "max" on role "forget" and "min" on role "retain", with one optimizer."""
  if tx is None:
    decayed = updates.by_progress(updates.step_decay((0.5, 0.8, 0.9)))
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.adam(5e-4), decayed)
  divergence = objectives.distill(fn, temperature=temperature)
  stay = objectives.added(objectives.scaled(objectives.cross_entropy(fn), gamma), objectives.scaled(divergence, alpha))
  return switch(
    "phase",
    max=descend({"forget": objectives.negated(divergence)}, tx, state_from="forget"),
    min=descend({"retain": stay}, tx, state_from="retain"),
  )


def rounds(forget, retain, max_epochs: int, epochs: int, batch_size: int | Mapping[str, int]) -> Plan:
  """`max_epochs` times a pass over F and one over R, then R alone."""
  leave, follow = Phase("max", None, ("forget",)), Phase("min", None, ("retain",))
  cycle = [leave, follow] * max_epochs + [follow] * (epochs - max_epochs)
  return zip_roles(cycle=cycle, epochs=1, batch_size=batch_size, forget=forget, retain=retain)


def nudged(state: UnlearnState, relative: float) -> UnlearnState:
  """The state with weights moved off the point where student and teacher agree; 0 changes no bit."""
  if not relative:
    return state
  return state.replace(params=edits.perturb(state.params, jax.random.fold_in(state.rng, state.step), relative))


def check_settings(alpha, gamma, temperature, max_epochs, epochs, perturb) -> None:
  """Raises ValueError for a setting out of range."""
  for name, value in (("alpha", alpha), ("gamma", gamma), ("perturb", perturb)):
    check.positive(name, value, zero=True)
  check.positive("temperature", temperature)
  check.positive("epochs", epochs)
  if not 0 <= max_epochs <= epochs:
    raise ValueError(f"max_epochs must be from 0 to epochs = {epochs}, got {max_epochs}")
