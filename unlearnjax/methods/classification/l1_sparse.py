"""l1-sparse unlearning. Jia et al., NeurIPS 2023, arXiv:2304.04934 (paper 14)."""

from __future__ import annotations

import optax

from unlearnjax import losses, objectives, updates
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fit, need_retain, plain_init, plain_model, zip_roles
from unlearnjax.methods.parts import restart, sgd


def l1_sparse(
  *,
  alpha: float = 5e-4,
  dense_epochs: int = 0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 256,
) -> Method:
  """Fine-tunes on the retain set under an l1 penalty that fades: a sparse model forgets more easily.

  min_theta CE_R(theta) + gamma_e |theta|_1, over all parameters (biases and norms too), without a proximal step;
  gamma_e = alpha (1 - e / (E - E0)) in epoch e = 0, 1, .. < E - E0, then 0. Models with batch statistics train in train
  mode.

  Args:
    alpha: penalty at the start, >= 0; it acts on a sum over all weights, so every network needs its own. 0 is
      fine-tuning.
    dense_epochs: E0, how many of the last epochs are without penalty, in [0, epochs).
    tx: optimizer; SGD 0.01 with momentum 0.9 and decay 5e-4 by default.
    epochs: E, passes over the retain set.
    batch_size: rows of a step.

  Raises:
    ValueError: alpha < 0, dense_epochs out of range, or a request without a retain set.

  Example:
    >>> l1_sparse(alpha=1e-3, dense_epochs=2).name
    'l1_sparse'
  """
  check.positive("alpha", alpha, zero=True)
  check.positive("epochs", epochs)
  check.fraction("dense_epochs / epochs", dense_epochs / epochs, zero=True, one=False)
  tx = sgd(0.01) if tx is None else tx
  fade = updates.linear_decay(until=1 - dense_epochs / epochs, stairs=epochs)

  def bind(fn: ModelFn) -> Verbs:
    step = descend(
      {
        "retain": objectives.cross_entropy(fn),
        "penalty": objectives.scaled(objectives.penalty(losses.l1_norm), lambda progress: alpha * fade(progress)),
      },
      tx,
      state_from="retain",
    )

    def forget(state, refs, request, run):
      retain = need_retain("l1_sparse", request)
      plan = zip_roles(retain=retain, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("l1_sparse", bind)
