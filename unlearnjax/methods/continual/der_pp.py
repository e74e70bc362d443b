"""DER++: dark experience replay with labels. Buzzega et al., NeurIPS 2020, arXiv:2004.07211 (baseline B11)."""

from __future__ import annotations

import optax

from unlearnjax.core import Method, check
from unlearnjax.methods.continual.der import dark_replay


def der_pp(
  *,
  alpha: float = 0.2,
  beta: float = 1.0,
  capacity: int = 200,
  replay_size: int | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """DER, and the labels of a second, independent draw from the memory.

  min_theta CE(batch) + alpha * mean (f(x') - z')^2 + beta * CE(f(x''), y'').

  Args:
    alpha: weight of the logits, >= 0; 0.1 to 1 in the paper.
    beta: weight of the labels, >= 0; 0.5 to 1. With alpha = 0 it is replay in the form of a sum.
    capacity, replay_size, tx, epochs, batch_size, every: as for `der`.

  Example:
    >>> der_pp(alpha=0.1, beta=0.5).name
    'der_pp'
  """
  check.positive("alpha", alpha, zero=True)
  check.positive("beta", beta, zero=True)
  return dark_replay("der_pp", alpha, beta, capacity, replay_size, tx, epochs, batch_size, every)
