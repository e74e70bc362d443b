"""NegGrad+: descent on the retain set, ascent on the forget set. Kurmanji et al. 2023, arXiv:2302.09880 (B3)."""

from __future__ import annotations

from collections.abc import Mapping

import optax

from unlearnjax import combine, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fit, need_retain, plain_init, plain_model, zip_roles
from unlearnjax.methods.parts import restart


def neg_grad_plus(
  *,
  alpha: float = 0.95,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int | Mapping[str, int] = {"retain": 32, "forget": 16},  # noqa: B006 - only read
) -> Method:
  """Weighs the loss of the retain set against that of the forget set, in one backward pass.

  min_theta alpha CE(R batch) - (1 - alpha) CE(F batch). The forget set is cycled to the length of the retain set and
  shuffled anew in each of its passes. The loss has no lower bound: a loss that leaves the numbers raises
  `NonFiniteError`. Models with batch statistics train in train mode and keep those of the retain batches.

  Args:
    alpha: in [0, 1]; 1 is fine-tuning, 0 gradient ascent. .95 for small data, .9999 for large.
    tx: optimizer; plain SGD 0.01 by default.
    epochs: passes over the retain set.
    batch_size: rows of a step, for both roles or by role.

  Raises:
    ValueError: alpha outside [0, 1], or a request without a retain set.

  Example:
    >>> neg_grad_plus(alpha=0.9999).name
    'neg_grad_plus'
  """
  check.fraction("alpha", alpha, zero=True)
  tx = optax.sgd(0.01) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend(
      {"retain": objectives.cross_entropy(fn), "forget": objectives.cross_entropy(fn)},
      tx,
      combine=combine.weighted(retain=alpha, forget=alpha - 1),
      state_from="retain",
    )

    def forget(state, refs, request, run):
      retain = need_retain("neg_grad_plus", request)
      plan = zip_roles(anchor="retain", batch_size=batch_size, epochs=epochs, retain=retain, forget=request.forget)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("neg_grad_plus", bind)
