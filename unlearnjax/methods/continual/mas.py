"""MAS: memory aware synapses. Aljundi et al., ECCV 2018, arXiv:1711.09601 (baseline B6)."""

from __future__ import annotations

import optax

from unlearnjax import curvature
from unlearnjax.core import Method, ModelFn, Verbs, check, fold, view_model
from unlearnjax.methods.continual.consolidate import consolidated, decayed


def mas(
  *,
  strength: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Holds each weight near its value after the last task, as firmly as the outputs depend on it. Needs no labels.

  CE(D_t) + strength sum_j Omega_j (theta_j - theta_{t-1}[j])^2, Omega the sum over earlier tasks of
  mean_x |d |f(x)|^2 / d theta_j|, f all logits, an absolute value for each example.

  Args:
    strength: lambda >= 0; 0 is sequential fine-tuning.
    tx: optimizer, SGD 0.03 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: strength < 0.
    NonFiniteError: when learning, a strength at which descent on the penalty diverges; names the largest step size.

  Example:
    >>> mas(strength=0.1).name
    'mas'
  """
  check.positive("strength", strength, zero=True)
  tx = optax.sgd(0.03) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    # without the mask of seen classes, whose constant logits would count as outputs
    sensitivity = curvature.output_sensitivity(fn)
    measure = lambda state, refs, task, run: fold(
      sensitivity, view_model(fn, state, refs), task.train, run, name="sensitivity"
    )
    settings = dict(epochs=epochs, batch_size=batch_size, every=every)
    return consolidated(fn, tx, weight=strength, measure=measure, merge=decayed(1.0), **settings)

  return Method("mas", bind)
