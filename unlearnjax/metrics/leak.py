"""What membership attacks on language models say about unlearning."""

from __future__ import annotations

from unlearnjax.core import check
from unlearnjax.metrics import inputs

EPS = 1e-10


def priv_leak(auc: float, retrained: float = 0.5, *, definition: str = "priv_leak") -> float:
  """MUSE's PrivLeak in percent: 0 is ideal, -100 the forget set still looks trained on, above 0 it looks avoided.

  priv_leak: 100 ((1 - auc) - (1 - retrained)) / (1 - retrained); an over-unlearned model is at up to
  100 retrained / (1 - retrained). rel_diff: 100 (auc - retrained) / retrained. Both sides leak: read the absolute
  value. Shi et al. 2024, arXiv:2407.06460.

  Args:
    auc: of the unlearned model, in [0, 1]: 1 where forget examples are told from held-out ones as members, see
      `attacks.membership_auc` with Min-40%. MUSE publishes 1 minus this.
    retrained: the same of the retrained model; .5 where there is none. Holdouts that differ from the forget set (later
      news) put it far from .5.
    definition: "priv_leak" or "rel_diff".

  Raises:
    ValueError: an AUC outside [0, 1], or a retrained model at 1 (for rel_diff at 0), to which nothing compares.

  Example:
    >>> round(priv_leak(1.0, 0.5), 2), round(priv_leak(0.5, 0.5), 2), round(priv_leak(0.0, 0.5), 2)
    (-100.0, 0.0, 100.0)
  """
  check.one_of("definition", definition, ("priv_leak", "rel_diff"))
  inputs.unit_interval("auc", auc)
  inputs.unit_interval("retrained", retrained)
  limit = inputs.concrete(retrained)
  if limit is not None and limit == (0 if definition == "rel_diff" else 1):
    raise ValueError(f"retrained must not be {limit:g} with definition={definition!r}: the leak is relative to it")
  if definition == "rel_diff":
    return 100 * (auc - retrained) / (retrained + EPS)
  return 100 * (retrained - auc) / (1 - retrained + EPS)
