"""NegGrad: ascent on the forget set, held near the original weights. Golatkar et al. 2020, arXiv:1911.04933 (B3)."""

from __future__ import annotations

from collections.abc import Mapping

import optax

from unlearnjax import combine, losses, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fit, need_retain, plain_init, plain_model, zip_roles
from unlearnjax.methods.parts import restart, teacher


def neg_grad(
  *,
  alpha: float = 0.95,
  decay: float = 0.1,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int | Mapping[str, int] = {"retain": 32, "forget": 16},  # noqa: B006 - only read
) -> Method:
  """Weighs ascent on the forget set against descent on the retain set and a pull towards the original weights.

  min_theta alpha [CE(R batch) + decay / 2 |theta - theta_o|^2] - (1 - alpha) CE(F batch). The model runs in eval mode:
  batch statistics stay as they are.

  Args:
    alpha: in [0, 1].
    decay: >= 0, strength of the pull; the default is that of the published small-scale experiments.
    tx: optimizer; plain SGD 0.01 by default. A weight decay in it would pull towards zero instead.
    epochs: passes over the retain set; the forget set is cycled.
    batch_size: rows of a step, for both roles or by role.

  Raises:
    ValueError: alpha outside [0, 1], decay < 0, or a request without a retain set.

  Example:
    >>> neg_grad(decay=5e-4).name
    'neg_grad'
  """
  check.fraction("alpha", alpha, zero=True)
  check.positive("decay", decay, zero=True)
  tx = optax.sgd(0.01) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    xent = objectives.cross_entropy(fn, train=False)
    step = descend(
      {"retain": xent, "forget": xent, "pull": objectives.penalty(losses.squared_distance, reference="original")},
      tx,
      combine=combine.weighted(retain=alpha, forget=alpha - 1, pull=alpha * decay / 2),
    )

    def forget(state, refs, request, run):
      retain = need_retain("neg_grad", request)
      refs = {"original": teacher(state)}
      plan = zip_roles(anchor="retain", batch_size=batch_size, epochs=epochs, retain=retain, forget=request.forget)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=lambda model, key: {"original": teacher(model)}), plain_model(fn), forget=forget)

  return Method("neg_grad", bind)
