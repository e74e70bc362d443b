"""GEM: gradient episodic memory. Lopez-Paz and Ranzato, NIPS 2017, arXiv:1706.08840 (paper 148)."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from unlearnjax import combine, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, replay
from unlearnjax.memory import ring, stacked
from unlearnjax.methods.continual.parts import check_room, chosen, learner, open_head, padded_batch, remember


def gem(
  *,
  margin: float = 0.5,
  memory_per_task: int = 256,
  tasks: int = 20,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Steps that raise no past task's loss on its memory, to first order.

  g~ = the gradient nearest to g with <g~, g_k> >= 0 for the gradient g_k of every earlier task's memory; see
  `combine.gem`. The memory of a task is a random sample of it, stored when the task is over: in one pass over a
  shuffled task, the last examples that the paper keeps are that. Each step costs a backward pass over all memories.

  Args:
    margin: memory strength, >= 0; without it little is left of the method.
    memory_per_task: examples of each task.
    tasks: room for so many; on an accelerator, places that are not used cost time.
    tx: optimizer, SGD 0.1 by default. Momentum mixes old directions in.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: at `learn`, more tasks than there is room for.

  Example:
    >>> gem(memory_per_task=64, tasks=5).name
    'gem'
  """
  tx = optax.sgd(0.1) if tx is None else tx
  check.positive("memory_per_task", memory_per_task)
  check.positive("tasks", tasks)

  def bind(fn: ModelFn) -> Verbs:
    open_fn = open_head(fn)
    past = objectives.per_task(objectives.cross_entropy(open_fn, train=False))
    step = descend(
      {"current": objectives.cross_entropy(open_fn), "memory": past},
      tx,
      combine=combine.gem(margin=margin),
      state_from="current",
    )
    return projected("gem", fn, step, stacked(ring(memory_per_task, groups=tasks)), memory_per_task, memory_per_task,
                     tasks, epochs, batch_size, every)  # fmt: skip

  return Method("gem", bind)


def projected(name, fn, step, memory, read, keep, tasks, epochs, batch_size, every) -> Verbs:
  """A step over "current" and "memory" whose memory is filled with `keep` examples at the end of each task."""

  def before(state, refs, task, run):
    check_room(name, task, tasks)
    return state, refs

  def after(state, refs, task, run):
    batch = padded_batch(chosen(task, keep, state.rng), keep)
    return remember(state, "memory", memory, {**batch, "task": jnp.full(keep, task.index)}), refs

  return learner(
    fn,
    replay(step, memory, role="memory", size=read),
    epochs=epochs,
    batch_size=batch_size,
    every=every,
    memories={"memory": memory},
    before=before,
    after=after,
  )
