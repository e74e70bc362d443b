"""Joint training on all tasks so far: the upper bound (baseline B2)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, descend
from unlearnjax.methods.continual.parts import begin_again, learner, open_head
from unlearnjax.methods.parts import everything, teacher


def joint(
  *,
  from_start: bool = True,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Trains on the data of all tasks up to this one, which no continual learner may keep.

  min_theta CE(D_1 u ... u D_t). It spends more updates than the others, growing with t, and needs `task.seen`. Its
  accuracies on the newest task are a* in `metrics.intransigence`.

  Args:
    from_start: each task trains anew from the weights that were given; False goes on from the last ones (cumulative
      training, which shows the stability gap).
    tx: optimizer, SGD 0.1 by default.
    epochs: passes over all data so far.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: a later task without `seen`.

  Example:
    >>> joint(epochs=5).name
    'joint'
  """
  tx = optax.sgd(0.1) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"current": objectives.cross_entropy(open_head(fn))}, tx, state_from="current")

    def before(state, refs, task, run):
      if task.index and task.seen is None:
        raise ValueError(f"joint needs the data of earlier tasks, but task {task.name!r} has seen=None")
      return (begin_again(state, refs, step) if from_start else state), refs

    start = lambda model, key: {"start": teacher(model)}
    return learner(
      fn,
      step,
      epochs=epochs,
      batch_size=batch_size,
      every=every,
      refs=start if from_start else None,
      before=before,
      source=lambda state, task: everything(task),
    )

  return Method("joint", bind)
