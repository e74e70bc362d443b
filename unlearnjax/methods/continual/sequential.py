"""Sequential fine-tuning: one task after another and nothing else (baseline B1)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, descend
from unlearnjax.methods.continual.parts import learner, open_head


def sequential(
  *,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Goes on training on each new task: what forgets, and what every other method is compared with.

  min_theta CE(D_t) from theta_{t-1}, over the classes seen so far.

  Args:
    tx: optimizer, SGD 0.1 by default; its state goes on from task to task.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Example:
    >>> sequential(epochs=5).name
    'sequential'
  """
  tx = optax.sgd(0.1) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"current": objectives.cross_entropy(open_head(fn))}, tx, state_from="current")
    return learner(fn, step, epochs=epochs, batch_size=batch_size, every=every)

  return Method("sequential", bind)
