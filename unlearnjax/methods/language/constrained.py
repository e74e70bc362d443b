"""PDU: forgetting under a constraint on what is retained. Entesari et al. 2025, arXiv:2506.05314."""

from __future__ import annotations

import optax

from unlearnjax import combine, objectives
from unlearnjax.core import Method
from unlearnjax.methods.language.recipe import unlearner


def pdu(
  *,
  limit: float = 0.3,
  gamma: float = 1.0,
  dual_start: float = 100.0,
  dual_rate: float = 5.0,
  warmup: float = 0.5,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 32,
) -> Method:
  """Flattens the predictions on the forget set, subject to a limit on the nll of the retain set.

  min gamma (max logit - mean logit)^2_F subject to nll_R <= limit, by descent on the weights and ascent on the
  multiplier: mu <- max(0, mu + rate (nll_R - limit)) a step.

  Args:
    limit: nll that the retain set may have; above that at the start.
    gamma: weight of the forget term.
    dual_start: first multiplier >= 0; 100 for TOFU, 50 for MUSE.
    dual_rate: step of the multiplier > 0; 5 for TOFU, 1 for MUSE.
    warmup: fraction of the plan before the multiplier moves.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> pdu(limit=0.5).name
    'pdu'
  """
  dual = combine.primal_dual({"retain": limit}, rate=dual_rate, start=dual_start, warmup=warmup, forget=gamma)
  return unlearner("pdu", objectives.logit_margin, "nll", tx=tx, epochs=epochs, batch_size=batch_size, combine=dual)
