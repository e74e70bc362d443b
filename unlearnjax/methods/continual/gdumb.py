"""GDumb: a balanced memory, and a fresh network for it. Prabhu et al., ECCV 2020."""

from __future__ import annotations

import functools

import numpy as np
import optax

from unlearnjax import objectives
from unlearnjax.core import Examples, Method, ModelFn, Verbs, check, descend
from unlearnjax.core.source import as_examples
from unlearnjax.memory import balanced
from unlearnjax.methods.continual.parts import begin_again, learner, open_head, padded_batch, remember
from unlearnjax.methods.parts import teacher


def gdumb(
  *,
  capacity: int = 200,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 30,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Does not learn from the stream: keeps a class-balanced sample of it, and trains on that alone, from the start.

  What it reaches is what a memory of that size is worth. It trains after every task, to be compared with the others;
  the paper trains when it is asked.

  Args:
    capacity: examples that are kept, as many of every class.
    tx: optimizer, SGD 0.1 by default.
    epochs: passes over the memory.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Example:
    >>> gdumb(capacity=500).name
    'gdumb'
  """
  tx = optax.sgd(0.1) if tx is None else tx
  check.positive("capacity", capacity)
  sampler = functools.cache(lambda classes: balanced(capacity, classes))

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"current": objectives.cross_entropy(open_head(fn))}, tx, state_from="current")

    def before(state, refs, task, run):
      data = as_examples(task.train)
      data = data[np.random.default_rng(task.index).permutation(len(data))]  # the first of a sorted table are no sample
      batch = padded_batch(data, 1 << (len(data) - 1).bit_length())
      state = remember(state, "memory", sampler(len(refs["seen"])), batch)
      return begin_again(state, refs, step), refs

    return learner(
      fn,
      step,
      epochs=epochs,
      batch_size=batch_size,
      every=every,
      memories={"memory": sampler},
      refs=lambda model, key: {"start": teacher(model)},
      before=before,
      source=lambda state, task: kept(state.memory["memory"]["rows"]),
    )

  return Method("gdumb", bind)


def kept(rows) -> Examples:
  """The valid rows of a memory as a table."""
  valid = np.asarray(rows["valid"])
  columns = {**{k: v for k, v in rows.items() if k not in ("inputs", "valid")}, **rows["inputs"]}
  return Examples({name: np.asarray(column)[valid] for name, column in columns.items()})
