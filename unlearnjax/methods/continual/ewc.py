"""EWC: elastic weight consolidation. Kirkpatrick et al., PNAS 2017, arXiv:1612.00796 (baseline B3)."""

from __future__ import annotations

import optax

from unlearnjax import curvature
from unlearnjax.core import Method, ModelFn, Verbs, check, fold, view_model
from unlearnjax.methods.continual.consolidate import consolidated, summed
from unlearnjax.methods.continual.parts import open_head


def ewc(
  *,
  strength: float = 100.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Holds each weight near its value after every earlier task, as firmly as that task's Fisher information says.

  CE(D_t) + strength / 2 sum_{k < t} sum_j F_k[j] (theta_j - theta_k[j])^2, with
  F_k = E_x E_{y ~ p(.|x)} (grad log p(y|x))^2 at theta_k, a label drawn for each example. The quadratics are kept as
  one, around their weighted mean, so that memory does not grow with the tasks. From the third task on early tasks count
  more than once, because later anchors hold them already; `online_ewc` does not have that.

  Args:
    strength: lambda >= 0; 0 is sequential fine-tuning. SGD diverges where learning rate * strength * max F > 2.
    tx: optimizer, SGD 0.03 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: strength < 0.
    NonFiniteError: when learning, a strength at which descent on the penalty diverges; names the largest step size.

  Example:
    >>> ewc(strength=10.0).name
    'ewc'
  """
  check.positive("strength", strength, zero=True)
  tx = optax.sgd(0.03) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    fisher = curvature.fisher_diag(open_head(fn), kind="model_sampled")
    measure = lambda state, refs, task, run: fold(
      fisher, view_model(open_head(fn), state, refs), task.train, run, name="fisher", rng=state.rng
    )
    settings = dict(epochs=epochs, batch_size=batch_size, every=every)
    return consolidated(fn, tx, weight=strength / 2, measure=measure, merge=summed, **settings)

  return Method("ewc", bind)
