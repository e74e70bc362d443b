"""DER: dark experience replay. Buzzega et al., NeurIPS 2020, arXiv:2004.07211 (baseline B11)."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from unlearnjax import combine, losses, objectives
from unlearnjax.core import Memory, Method, ModelFn, Transform, Verbs, check, descend, replay, sequence
from unlearnjax.memory import reservoir
from unlearnjax.methods.continual.parts import learner


def der(
  *,
  alpha: float = 0.2,
  capacity: int = 200,
  replay_size: int | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Holds the logits of remembered examples where they were when the examples were stored.

  min_theta CE(batch) + alpha * mean (f(x') - z')^2 over rows and classes, z' the logits before the update of the step
  that stored x'. The mean over classes makes alpha depend on their number. Needs no task boundaries.

  Args:
    alpha: weight of the logits, >= 0; 0.1 to 1 in the paper.
    capacity: examples that are kept, a uniform sample of the past.
    replay_size: remembered examples of a step; `batch_size` by default.
    tx: optimizer, SGD 0.03 by default.
    epochs: passes over each task.
    batch_size: new examples of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Example:
    >>> der(alpha=0.5).name
    'der'
  """
  check.positive("alpha", alpha, zero=True)
  return dark_replay("der", alpha, None, capacity, replay_size, tx, epochs, batch_size, every)


def dark_replay(name, alpha, beta, capacity, replay_size, tx, epochs, batch_size, every) -> Method:
  """DER, and with a `beta` DER++, which replays labels on a second, independent draw."""
  tx = optax.sgd(0.03) if tx is None else tx
  size = batch_size if replay_size is None else replay_size
  if capacity < size:
    raise ValueError(f"capacity must be at least replay_size={size}, got {capacity}")

  def bind(fn: ModelFn) -> Verbs:
    memory = reservoir(capacity)
    step = dark_step(fn, memory, tx, alpha, beta, size)
    return learner(
      fn,
      step,
      epochs=epochs,
      batch_size=batch_size,
      every=every,
      memories={"memory": memory},
      columns=lambda classes: {"logits": jnp.zeros((1, classes))},
    )

  return Method(name, bind)


def dark_step(
  fn: ModelFn,
  memory: Memory,
  tx: optax.GradientTransformation,
  alpha: float,
  beta: float | None,
  size: int,
  before: Transform | None = None,
) -> Transform:
  """The step of `dark_replay`, with another one before it on the same batch."""
  roles = {
    "current": objectives.answered(fn, seen="seen"),
    "memory": objectives.supervised(fn, losses.squared_error, target="logits"),
  }
  weights = {"memory": alpha}
  if beta is not None:
    roles["labels"], weights["labels"] = objectives.answered(fn, seen="seen"), beta
  step = descend(roles, tx, combine=combine.weighted(**weights), state_from="current")
  if before is not None:
    step = sequence(before, step)
  return replay(step, memory, role=tuple(roles)[1:], size=size, add_from="current", store={"logits": "current/logits"})
