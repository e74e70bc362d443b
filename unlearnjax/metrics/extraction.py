"""What a model says on its own after the beginning of a text, with all generations on the device."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Model, Run, as_examples, check, fold
from unlearnjax.core.types import Array, RoleBatch
from unlearnjax.metrics.ranking import target_ranks
from unlearnjax.objectives.bind import column
from unlearnjax.objectives.cached import capacity, per_row


def extraction_likelihoods(
  model: Model, source: Any, run: Run | None = None, *, n: int = 10, prefixes: int = 16
) -> np.ndarray:
  """EL_n of every text of a source: `extraction_likelihood` with the generations made here. Lower forgot more.

  Prefixes end before each scored token; of a question with its answer, those within the answer. Jang et al. 2023,
  arXiv:2210.01504.

  Args:
    model: a causal language model.
    source: a `Source` of language, see `objectives.tokens`; N texts whose scored tokens stand together.
    run: batch size, mesh, progress, ledger.
    n: length of the n-grams, >= 1.
    prefixes: generations that run at once, times the rows of a batch: memory against time.

  Returns:
    f32[N] >= 0; NaN for texts of fewer than n scored tokens. Loops can push it above 1.

  Example:
    >>> from unlearnjax.core import Examples, Outputs
    >>> counts = Model(
    ...   jnp.roll(jnp.eye(8), 1, axis=1), fn=lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    ... )
    >>> table = Examples({"tokens": np.array([[0, 1, 2, 3], [0, 2, 1, 0]]), "mask": np.ones((2, 4), bool)})
    >>> extraction_likelihoods(counts, table, n=2).tolist()
    [1.0, 0.0]
  """
  check.positive("n", n)
  check.positive("prefixes", prefixes)
  source = as_examples(source)
  found = fold(_rows(n, prefixes, capacity(len(source))), model, source, run, name="extraction")
  if run is not None:
    width = source.columns["tokens"].shape[1]
    run.cost.forward_evaluations += len(source) * (generations(width, prefixes) - 1)  # the fold counts one a row
  return np.asarray(found)[: len(source)]


def generations(width: int, prefixes: int = 16) -> int:
  """Rows that the model reads for the extraction likelihood of one row of so many tokens.

  Example:
    >>> generations(40)
    48
  """
  return -(-(width - 1) // prefixes) * prefixes


@functools.lru_cache(maxsize=64)
def _rows(n: int, prefixes: int, rows: int):
  """One value for all calls of a size, so that they share a compilation."""
  score = lambda model, batch: extraction_of(model, batch, n, prefixes)
  return per_row(score, jax.ShapeDtypeStruct((), jnp.float32), rows)


def extraction_of(model: Model, batch: RoleBatch, n: int, prefixes: int = 16) -> Array:
  """EL_n of the rows of a role batch, f32[B], for use inside a compiled function; see `extraction_likelihoods`."""
  inputs, mask = batch["inputs"], jnp.asarray(column(batch, "mask"), bool)
  rows, width = np.shape(column(inputs, "tokens"))
  if not n < width:
    raise ValueError(f"n must be less than the {width} tokens of a row, got {n}")
  place = jnp.arange(width)
  mask = mask & (place > 0)
  end = jnp.max(jnp.where(mask, place + 1, 0), axis=-1)
  gram = jnp.arange(width - n + 1)  # where n-grams start

  def overlap(cut):  # int[k], where prefixes end -> f[k, B]
    many = {k: jnp.tile(x, (len(cut), 1)) for k, x in inputs.items()}
    said = completed(model, many, jnp.repeat(cut, rows)).reshape(len(cut), rows, width)
    same = said[..., :, None] == inputs["tokens"][:, None, :]  # [k, B, generated, true]
    match = jnp.ones((len(cut), rows, len(gram), len(gram)), bool)
    for i in range(n):
      match &= same[..., i : i + len(gram), i : i + len(gram)]
    inside = (gram >= cut[:, None, None]) & (gram + n <= end[:, None])  # the same for both: they are equally long
    hit = jnp.any(match & inside[..., None, :], axis=-1) & inside
    return jnp.sum(hit, axis=-1) / jnp.maximum(jnp.sum(inside, axis=-1), 1)

  count = generations(width, prefixes)
  cuts = jnp.minimum(1 + jnp.arange(count), width - 1).reshape(-1, prefixes)
  shares = jax.lax.map(overlap, cuts).reshape(count, rows)[: width - 1]
  counted = (mask & (place + n <= end[:, None]))[:, 1:]
  total = jnp.sum(jnp.where(counted, shares.T, 0), axis=-1)
  return jnp.where(counted.any(-1), total / jnp.maximum(counted.sum(-1), 1), jnp.nan).astype(jnp.float32)


def greedy_ranks(model: Model, source: Any, run: Run | None = None) -> np.ndarray:
  """The rank of each answer token when the model answers greedily on its own, as PISTOL has it.

  Step j is compared with token j of the true answer, whatever was said before: past the first wrong token a rank is
  conditioned on the model's own words. All 1 exactly where the answer is given word by word. Qiu et al. 2024,
  arXiv:2406.16810.

  Args:
    model: a causal language model.
    source: a `Source` of language, see `objectives.tokens`; the scored tokens of a row stand together.
    run: batch size, mesh, progress, ledger.

  Returns:
    int32[N, T - 1] for `mean_reciprocal_rank` and `top_hit_ratio`; position t speaks of token t + 1. 0 where nothing is
    scored: the mask is `ranks > 0`.

  Example:
    >>> from unlearnjax.core import Examples, Outputs
    >>> counts = Model(
    ...   jnp.roll(jnp.eye(8), 1, axis=1), fn=lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    ... )
    >>> table = Examples({"tokens": np.array([[0, 1, 2, 5]]), "mask": np.array([[False, False, True, True]])})
    >>> greedy_ranks(counts, table).tolist()
    [[0, 1, 2]]
  """
  source = as_examples(source)
  width = source.columns["tokens"].shape[1]
  found = fold(_ranks(capacity(len(source)), width), model, source, run, name="ranks")
  if run is not None:
    run.cost.forward_evaluations += len(source)  # an answer, and its predictions
  return np.asarray(found)[: len(source)]


@functools.lru_cache(maxsize=64)
def _ranks(rows: int, width: int):
  def score(model, batch):
    inputs, mask = batch["inputs"], jnp.asarray(column(batch, "mask"), bool)
    said = completed(model, inputs, jnp.maximum(jnp.argmax(mask, axis=-1), 1))
    logits = model({**inputs, "tokens": said}).logits[:, :-1]
    return jnp.where(mask[:, 1:], target_ranks(logits, inputs["tokens"][:, 1:]), 0)

  return per_row(score, jax.ShapeDtypeStruct((width - 1,), jnp.int32), rows)


def completed(model: Model, inputs: Mapping[str, Array], cut: Array) -> Array:
  """The first `cut` tokens of each row and their greedy continuation, int32[B, T], for use inside a compiled function.

  Rows read one token a step, whether given or generated, so that prefixes of any length go side by side and need no
  context beyond T; with the cache of `model.fn` where it has one, else the whole row is read at each step.

  Args:
    model: a causal language model.
    inputs: "tokens" int[B, T], and what else the model reads of each token.
    cut: int[B] >= 1.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> counts = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> model = Model(jnp.roll(jnp.eye(4), 1, axis=1), fn=counts)
    >>> completed(model, {"tokens": jnp.array([[0, 2, 0, 0]])}, jnp.array([2])).tolist()
    [[0, 2, 3, 0]]
  """
  tokens = jnp.asarray(inputs["tokens"], jnp.int32)
  rows, width = tokens.shape
  cache = getattr(model.fn, "cache", None)
  choose = lambda logits, p: jnp.where(p + 1 < cut, tokens[:, p + 1], jnp.argmax(logits, axis=-1)).astype(jnp.int32)

  def whole(text, p):
    logits = model({**inputs, "tokens": text}).logits
    return text.at[:, p + 1].set(choose(logits[:, p], p)), None

  def cached(carry, p):
    state, token = carry
    here = {k: jax.lax.dynamic_slice_in_dim(x, p, 1, axis=1) for k, x in inputs.items()}
    out = model.fn(model.params, {**here, "tokens": token[:, None]}, state=state, refs=model.refs)
    token = choose(out.logits[:, -1], p)
    return (out.state, token), token

  if cache is None:
    return jax.lax.scan(whole, tokens, jnp.arange(width - 1))[0]
  said = jax.lax.scan(cached, (cache(rows, width), tokens[:, 0]), jnp.arange(width - 1))[1]
  return jnp.concatenate([tokens[:, :1], said.T], axis=1)
