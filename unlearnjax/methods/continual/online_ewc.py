"""Online EWC: one anchor and a running Fisher. Schwarz et al., ICML 2018, arXiv:1805.06370 (baseline B4)."""

from __future__ import annotations

import optax

from unlearnjax import curvature, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, fold, view_model
from unlearnjax.methods.continual.consolidate import consolidated, decayed
from unlearnjax.methods.continual.parts import open_head


def online_ewc(
  *,
  strength: float = 100.0,
  decay: float = 1.0,
  fisher: str = "model_sampled",
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Holds each weight near its value after the last task, as firmly as all earlier tasks together say.

  CE(D_t) + strength / 2 * decay sum_j F_{t-1}[j] (theta_j - theta_{t-1}[j])^2, F_t = decay F_{t-1} + F of task t.

  Args:
    strength: lambda >= 0; 0 is sequential fine-tuning. A penalty written without 1/2 has half of this.
    decay: gamma in [0, 1].
    fisher: "model_sampled", "per_sample", "true_label" or "expected"; see `curvature.fisher_diag`. The library mammoth
      has "true_label", and no 1/2.
    tx: optimizer, SGD 0.03 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: strength < 0, decay outside [0, 1], an unknown kind of Fisher information.
    NonFiniteError: when learning, a strength at which descent on the penalty diverges; names the largest step size.

  Example:
    >>> online_ewc(decay=0.9).name
    'online_ewc'
  """
  check.positive("strength", strength, zero=True)
  check.fraction("decay", decay, zero=True)
  check.one_of("fisher", fisher, ("model_sampled", "per_sample", "true_label", "expected"))
  tx = optax.sgd(0.03) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    head = open_head(fn)
    labelled = fisher in ("per_sample", "true_label")
    of = objectives.cross_entropy(head, train=False) if labelled else head
    statistic = curvature.fisher_diag(of, kind=fisher)
    measure = lambda state, refs, task, run: fold(
      statistic, view_model(head, state, refs), task.train, run, name="fisher", rng=state.rng
    )
    settings = dict(epochs=epochs, batch_size=batch_size, every=every)
    return consolidated(fn, tx, weight=strength / 2, measure=measure, merge=decayed(decay), **settings)

  return Method("online_ewc", bind)
