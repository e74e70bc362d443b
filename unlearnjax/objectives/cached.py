"""Numbers a row that are computed once and then travel with the data, such as the reference's log-likelihood."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.fold import fold
from unlearnjax.core.run import Run
from unlearnjax.core.source import Examples, as_examples
from unlearnjax.core.types import ArrayTree, Model, RoleBatch, Statistic
from unlearnjax.objectives.bind import eval_view
from unlearnjax.objectives.tokens import answer, answer_batch, row_logp


def per_row(score: Callable[[Model, RoleBatch], ArrayTree], example: ArrayTree, rows: int) -> Statistic:
  """A statistic that keeps a result for every row of a source, in the source's order.

  Args:
    score: `(model, role batch of B rows) -> tree of [B, ...]`.
    example: a tree of `jax.ShapeDtypeStruct`, or arrays, of the result for one row.
    rows: rows of the source, or more.

  Returns:
    a Statistic whose result is a tree of [rows, ...].

  Example:
    >>> source = Examples({"x": np.arange(5, dtype=np.float32)})
    >>> double = per_row(lambda model, batch: 2 * batch["inputs"]["x"], jax.ShapeDtypeStruct((), jnp.float32), 5)
    >>> fold(double, Model({}), source, batch_size=2).tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0]
  """

  def init(model):
    return jnp.zeros((), jnp.int32), jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), example)

  def update(acc, model, batch, rng):
    del rng
    count, kept = acc
    valid = jnp.asarray(batch["valid"], bool)
    place = jnp.where(valid, count + jnp.cumsum(valid) - 1, rows)  # padding falls off the end
    found = score(model, batch)
    kept = jax.tree.map(lambda k, x: k.at[place].set(x.astype(k.dtype), mode="drop"), kept, found)
    return count + jnp.sum(valid, dtype=jnp.int32), kept

  return Statistic(init, update, finish=lambda acc: acc[1])


def with_reference(
  model: Model, source: Any, run: Run | None = None, *, answers: str = "", column: str = "ref_logp"
) -> Examples:
  """The source with log p(answer | prompt) of a model as a column: NPO and DPO then need no second forward pass.

  Args:
    model: the reference: the model before the first step.
    source: a `Source` of language, see `objectives.tokens`.
    run: batch size, mesh, progress, ledger.
    answers: whose likelihood; the column is then `<answers>_<column>`.
    column: its name.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> table = Examples({"tokens": np.array([[0, 1, 2]] * 3), "mask": np.array([[False, True, True]] * 3)})
    >>> [round(float(x), 4) for x in with_reference(Model(jnp.zeros((4, 4)), fn=bigram), table).column("ref_logp")]
    [-2.7726, -2.7726, -2.7726]
  """
  source = as_examples(source)
  found = fold(_logp_of(answers, len(source.columns["id"])), model, source, run, name="reference")[: len(source)]
  return source.replace(**{f"{answers}_{column}" if answers else column: np.asarray(found)})


def capacity(rows: int) -> int:
  """The power of two from `rows` on: sources of nearby sizes then share a compilation.

  Example:
    >>> capacity(1), capacity(5), capacity(8)
    (1, 8, 8)
  """
  return 1 << max(rows - 1, 0).bit_length()


@functools.lru_cache(maxsize=64)
def _logp_of(answers: str, rows: int) -> Statistic:
  """One value for all requests over a table, so that they share a compilation."""

  def score(model, batch):
    batch = answer_batch(batch, answers)
    return row_logp(answer(model.fn, model.params, batch, eval_view(model, jax.random.key(0)), train=False)[0])

  return per_row(score, jax.ShapeDtypeStruct((), jnp.float32), rows)
