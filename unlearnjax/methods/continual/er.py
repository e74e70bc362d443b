"""ER: experience replay from a reservoir. Chaudhry et al. 2019, arXiv:1902.10486 (baseline B10)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, joined, replay
from unlearnjax.memory import reservoir
from unlearnjax.methods.continual.parts import learner, open_head


def er(
  *,
  capacity: int = 200,
  replay_size: int | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Trains on each batch together with as many remembered examples; the memory is a uniform sample of the past.

  min_theta CE(batch of D_t, batch of memory), one mean over both; the batch goes into the reservoir after the step.
  Needs no task boundaries.

  Args:
    capacity: examples that are kept.
    replay_size: remembered examples of a step; `batch_size` by default.
    tx: optimizer, SGD 0.1 by default.
    epochs: passes over each task.
    batch_size: new examples of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: a capacity below `replay_size`.

  Example:
    >>> er(capacity=500).name
    'er'
  """
  tx = optax.sgd(0.1) if tx is None else tx
  size = batch_size if replay_size is None else replay_size
  check.positive("replay_size", size)
  if capacity < size:
    raise ValueError(f"capacity must be at least replay_size={size}, got {capacity}")

  def bind(fn: ModelFn) -> Verbs:
    memory = reservoir(capacity)
    both = descend({"both": objectives.cross_entropy(open_head(fn))}, tx, state_from="both")
    step = joined(both, "both", ("current", "memory"))
    step = replay(step, memory, role="memory", size=size, add_from="current")
    return learner(fn, step, epochs=epochs, batch_size=batch_size, every=every, memories={"memory": memory})

  return Method("er", bind)
