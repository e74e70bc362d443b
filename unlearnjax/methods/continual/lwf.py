"""LwF: learning without forgetting. Li and Hoiem, ECCV 2016, arXiv:1606.09282 (paper 62)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend
from unlearnjax.methods.continual.parts import learner, open_head
from unlearnjax.methods.parts import sgd, teacher


def lwf(
  *,
  strength: float = 1.0,
  temperature: float = 2.0,
  heads: int | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Learns a new task while the answers about old classes, on the new inputs, stay those of the model before.

  CE(D_t) + strength sum over old heads of -sum_c q_c log p_c, q and p the softened answers (temperature T) of the
  model before the task and of the one in training. The paper trains the new head alone for a while first; that
  stage is left out. With one softmax over all classes and no memory it forgets like fine-tuning: the paper's
  setting is one head a task.

  Args:
    strength: lambda_o >= 0; 0 is sequential fine-tuning.
    temperature: T > 0.
    heads: the number of tasks, for a model with one head a task (`stream.head(fn)`); None for one head over all
      classes, which distils a single softmax over the old ones.
    tx: optimizer, SGD 0.01 with momentum 0.9 and weight decay 5e-4 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: strength < 0, temperature <= 0.

  Example:
    >>> lwf(temperature=2.0).name
    'lwf'
  """
  check.positive("strength", strength, zero=True)
  tx = sgd(0.01) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    keep = objectives.scaled(objectives.retained(fn, temperature=temperature, heads=heads), strength)
    step = descend(
      {"current": objectives.added(objectives.cross_entropy(open_head(fn)), keep)}, tx, state_from="current"
    )

    def before(state, refs, task, run):
      return state, {**refs, "teacher": teacher(state)}

    first = lambda model, key: {"teacher": teacher(model)}
    return learner(fn, step, refs=first, before=before, epochs=epochs, batch_size=batch_size, every=every)

  return Method("lwf", bind)
