"""A-GEM: averaged GEM. Chaudhry et al., ICLR 2019, arXiv:1812.00420 (baseline B7)."""

from __future__ import annotations

import optax

from unlearnjax import combine, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend
from unlearnjax.memory import ring
from unlearnjax.methods.continual.gem import projected
from unlearnjax.methods.continual.parts import open_head


def agem(
  *,
  memory_per_task: int = 64,
  reference_size: int = 256,
  tasks: int = 20,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Steps that do not raise the loss of one random batch of all past memories, to first order.

  g - (<g, m> / |m|^2) m where <g, m> < 0, with m the gradient of that batch. Expect little more than sequential
  fine-tuning on most streams.

  Args:
    memory_per_task: examples of each task, a random sample stored when the task is over.
    reference_size: rows of the batch, at most `tasks * memory_per_task`.
    tasks: room for so many.
    tx: optimizer, SGD 0.1 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: at `learn`, more tasks than there is room for.

  Example:
    >>> agem(memory_per_task=16).name
    'agem'
  """
  tx = optax.sgd(0.1) if tx is None else tx
  check.positive("memory_per_task", memory_per_task)
  check.positive("tasks", tasks)
  read = min(reference_size, tasks * memory_per_task)
  check.positive("reference_size", read)

  def bind(fn: ModelFn) -> Verbs:
    open_fn = open_head(fn)
    roles = {
      "current": objectives.cross_entropy(open_fn),
      "memory": objectives.cross_entropy(open_fn, train=False),
    }
    step = descend(roles, tx, combine=combine.agem(), state_from="current")
    memory = ring(memory_per_task, groups=tasks)
    return projected("agem", fn, step, memory, read, memory_per_task, tasks, epochs, batch_size, every)

  return Method("agem", bind)
