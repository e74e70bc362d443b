"""Stable SGD: wide minima by falling rates. Mirzadeh et al., NeurIPS 2020, arXiv:2006.06958 (baseline B2b)."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from unlearnjax import objectives, updates
from unlearnjax.core import Method, ModelFn, Verbs, check, descend
from unlearnjax.methods.continual.parts import learner, open_head


def stable_sgd(
  *,
  rate: float = 0.1,
  decay: float = 0.9,
  floor: float = 5e-5,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Sequential fine-tuning with what makes minima wide: a rate that falls from task to task, small batches, dropout.

  theta <- theta - max(rate * decay^t, floor) * g in task t = 0, 1, .... Give the model dropout (0.1 to 0.25) for the
  rest of the recipe.

  Args:
    rate: of the first task, > 0.
    decay: in (0, 1]; 1 is `sequential`.
    floor: the smallest rate.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Example:
    >>> stable_sgd(decay=0.8).name
    'stable_sgd'
  """
  check.positive("rate", rate)
  check.fraction("decay", decay)
  check.positive("floor", floor, zero=True)
  tx = optax.chain(optax.sgd(1.0), updates.by_task(lambda t: jnp.maximum(rate * decay ** t.astype(jnp.float32), floor)))

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"current": objectives.cross_entropy(open_head(fn))}, tx, state_from="current")
    return learner(fn, step, epochs=epochs, batch_size=batch_size, every=every)

  return Method("stable_sgd", bind)
