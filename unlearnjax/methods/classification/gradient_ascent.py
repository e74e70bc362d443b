"""Gradient ascent on the forget set (baseline B3)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, descend, fit, plain_init, plain_model, zip_roles
from unlearnjax.methods.parts import restart, sgd


def gradient_ascent(
  *, tx: optax.GradientTransformation | None = None, epochs: int = 5, batch_size: int = 256
) -> Method:
  """Climbs the loss of the forget set; the retain set is not needed and not read.

  min_theta -CE_F(theta) from theta_o. The loss has no bound: the learning rate is the only brake, too small changes
  nothing and too large destroys the model (a loss that leaves the numbers raises `NonFiniteError`). Choose it on
  validation data. Defaults as in Jia et al. 2023, arXiv:2304.04934. Models with batch statistics train in train mode.

  Args:
    tx: optimizer; SGD 1e-4 with momentum 0.9 and decay 5e-4 by default.
    epochs: passes over the forget set.
    batch_size: rows of a step.

  Example:
    >>> gradient_ascent(tx=optax.sgd(1e-3)).name
    'gradient_ascent'
  """
  tx = sgd(1e-4) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"forget": objectives.negated(objectives.cross_entropy(fn))}, tx, state_from="forget")

    def forget(state, refs, request, run):
      plan = zip_roles(forget=request.forget, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("gradient_ascent", bind)
