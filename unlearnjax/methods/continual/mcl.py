"""MCL: momentum-based weight interpolation. Stojanovski et al. 2022, arXiv:2211.03186 (paper 61)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, Model, ModelFn, Verbs, averaged, check, descend
from unlearnjax.methods.continual.parts import learner, open_head


def mcl(
  *,
  decay: float = 0.99,
  interval: int = 1,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Fine-tunes fast weights and serves slow ones, their exponential average, which training never reads.

  Every `interval` steps slow <- decay slow + (1 - decay) fast, over parameters and model state; both start as the model
  that is given, which should be trained already: from random weights there is little to keep. The paper puts it around
  any continual learner: `core.averaged(step, decay=..., every=...)` is that for any step.

  Args:
    decay: tau in [0, 1]; the half-life, interval * ln 2 / -ln tau steps, should be a fraction of a task.
    interval: N >= 1 steps between updates of the slow weights.
    tx: optimizer of the fast weights, SGD 0.1 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy of the fast weights on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: decay outside [0, 1], interval below 1.

  Example:
    >>> mcl(decay=0.999).name
    'mcl'
  """
  tx = optax.sgd(0.1) if tx is None else tx
  check.fraction("decay", decay, zero=True)
  check.positive("interval", interval)

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"current": objectives.cross_entropy(open_head(fn))}, tx, state_from="current")

    def served(state, refs):
      slow = state.slots["slow"]
      if "seen" not in refs:
        return Model(slow["params"], slow["state"], {}, fn)
      return Model(slow["params"], slow["state"], {"seen": refs["seen"]}, open_head(fn))

    slow_step = averaged(step, decay=decay, every=interval)
    return learner(fn, slow_step, model=served, epochs=epochs, batch_size=batch_size, every=every)

  return Method("mcl", bind)
