"""Fine-tuning on the retain set (baseline B2)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, descend, fit, need_retain, plain_init, plain_model, zip_roles
from unlearnjax.methods.parts import restart, sgd


def fine_tune(*, tx: optax.GradientTransformation | None = None, epochs: int = 10, batch_size: int = 256) -> Method:
  """Goes on training without the forget set, and hopes that it is overwritten.

  min_theta CE_R(theta) from theta_o. Cheap, and forgets too little: the weakest baseline, with the best accuracy on
  what stays. Defaults as in Jia et al. 2023, arXiv:2304.04934. Models with batch statistics train in train mode.

  Args:
    tx: optimizer; SGD 0.01 with momentum 0.9 and decay 5e-4 by default.
    epochs: passes over the retain set; 0 changes nothing.
    batch_size: rows of a step.

  Raises:
    ValueError: a request without a retain set.

  Example:
    >>> fine_tune(epochs=5).name
    'fine_tune'
  """
  tx = sgd(0.01) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"retain": objectives.cross_entropy(fn)}, tx, state_from="retain")

    def forget(state, refs, request, run):
      retain = need_retain("fine_tune", request)
      plan = zip_roles(retain=retain, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("fine_tune", bind)
