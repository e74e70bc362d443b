"""TAG: task-based accumulated gradients. Malviya et al., CoLLAs 2022 (paper 68)."""

from __future__ import annotations

from unlearnjax import objectives, updates
from unlearnjax.core import Method, ModelFn, Verbs, descend
from unlearnjax.methods.continual.parts import check_room, learner, open_head


def tag(
  *,
  tasks: int = 5,
  learning_rate: float = 2.5e-4,
  b: float = 5.0,
  kind: str = "rmsprop",
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Fine-tuning by an optimizer that keeps the moments of every task and slows down where a new one opposes them.

  See `updates.tag` for the rule. There is no memory of examples and no penalty; the paper gives each task a head.

  Args:
    tasks: capacity: moments are kept for each.
    learning_rate: > 0; an order of magnitude below that of the plain rule.
    b: > 0, how strongly tasks influence each other.
    kind: "rmsprop", "adagrad" or "adam".
    epochs: passes over each task; 1 in the paper.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: arguments out of range; when learning, more tasks than `tasks`.

  Example:
    >>> tag(tasks=20).name
    'tag'
  """
  tx = updates.tag(learning_rate, tasks, b=b, kind=kind)

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"current": objectives.cross_entropy(open_head(fn))}, tx, state_from="current")

    def before(state, refs, task, run):
      check_room("tag", task, tasks)
      return state, refs

    return learner(fn, step, before=before, epochs=epochs, batch_size=batch_size, every=every)

  return Method("tag", bind)
