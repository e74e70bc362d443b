"""Answers whose tokens are others than the true ones: false labels on true text, and texts with replaced tokens."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import losses
from unlearnjax.core import check, role_batch
from unlearnjax.core.fold import fold
from unlearnjax.core.run import Run
from unlearnjax.core.source import Examples, as_examples
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, Model, ModelFn, Objective, Params, RoleBatch, View
from unlearnjax.objectives.bind import column, eval_view, forward, mean, with_state
from unlearnjax.objectives.cached import per_row
from unlearnjax.objectives.tokens import answer


def false_nll(fn: ModelFn, *, labels: str = "labels", train: bool = True) -> Objective:
  """-log p of other tokens than those that come, at the scored positions: the text itself stays in the input.

  Mean over rows of the mean over scored tokens. Yao et al. 2024, arXiv:2402.15159.

  Args:
    fn: a causal model.
    labels: column int[B, T]; entry t stands in the place of token t, as something predicted. See `with_random_tokens`
      and `with_adversarial_tokens`.
    train: runs the model for training.
  """

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    nll = losses.token_nll(aligned.logits, column(batch, labels)[:, 1:], aligned.mask)
    value, aux = mean(losses.reduce_seq_mean(nll, aligned.mask), batch)
    return value, with_state(aux, out, view, train)

  return objective


def with_random_tokens(
  model: Model, source: Any, run: Run | None = None, *, key: Array, labels: str = "labels"
) -> Examples:
  """The source with a column of tokens that are drawn uniformly from the vocabulary, once.

  Args:
    model: tells the size of the vocabulary; nothing is computed.
    source: a `Source` of language, see `objectives.tokens`.
    run: unused; for the signature of `with_adversarial_tokens`.
    key: a typed key; same key, same tokens.
    labels: name of the column, int32[N, T].

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> bigram = Model(jnp.zeros((4, 4)), fn=lambda params, inputs, **_: Outputs(params[inputs["tokens"]]))
    >>> table = Examples({"tokens": np.array([[0, 1, 2]]), "mask": np.array([[False, True, True]])})
    >>> drawn = with_random_tokens(bigram, table, key=jax.random.key(0)).column("labels")
    >>> drawn.shape, bool((drawn < 4).all())
    ((1, 3), True)
  """
  del run
  source = as_examples(source)
  first = role_batch(source, slice(1))
  words = vocabulary(model.fn, model.params, first, eval_view(model, jax.random.key(0)))
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
  return source.replace(**{labels: rng.integers(words, size=source.column("tokens").shape, dtype=np.int32)})


def with_adversarial_tokens(
  model: Model, source: Any, run: Run | None = None, *, key: Array | None = None, labels: str = "labels"
) -> Examples:
  """The source with a column of each position's likeliest token under a model, the true token banned.

  Args:
    model: the reference: the model before the first step.
    source: a `Source` of language, see `objectives.tokens`.
    run: batch size, mesh, progress, ledger.
    key: unused; for the signature of `with_random_tokens`.
    labels: name of the column, int32[N, T]; entry t is a prediction of token t, and entry 0 is 0.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> table = Examples({"tokens": np.array([[0, 1, 2]]), "mask": np.array([[False, True, True]])})
    >>> weights = jnp.array([[0.0, 9.0, 0.0, 1.0]] * 3)
    >>> with_adversarial_tokens(Model(weights, fn=bigram), table).column("labels").tolist()
    [[0, 3, 1]]
  """
  del key
  source = as_examples(source)
  found = fold(_banned(len(source.columns["id"]), source.columns["tokens"].shape[1]), model, source, run, name=labels)
  return source.replace(**{labels: np.asarray(found)[: len(source)]})


@functools.lru_cache(maxsize=64)
def _banned(rows: int, width: int):
  """One value for all requests over a table, so that they share a compilation."""

  def score(model, batch):
    aligned = answer(model.fn, model.params, batch, eval_view(model, jax.random.key(0)), train=False)[0]
    true = jax.nn.one_hot(aligned.targets, aligned.logits.shape[-1], dtype=bool)
    other = jnp.argmax(jnp.where(true, -jnp.inf, aligned.logits), axis=-1).astype(jnp.int32)
    return jnp.pad(other, ((0, 0), (1, 0)))

  return per_row(score, jax.ShapeDtypeStruct((width,), jnp.int32), rows)


def noisy_nll(fn: ModelFn, *, fraction: float = 0.5, copies: int = 3, train: bool = False) -> Objective:
  """-log p of answers some of whose tokens are replaced by random ones, in the text and as what is predicted.

  Mean over copies, over rows, over scored tokens. What MemFlex finds its tensors by: gradients that hang less on the
  words of one answer. Tian et al. 2024, arXiv:2407.01920.

  Args:
    fn: a causal model.
    fraction: floor(fraction n) of the n scored tokens before the last one (the end) are replaced; in (0, 1].
    copies: independent draws, from `view.rng`.
    train: runs the model for training.
  """
  check.fraction("fraction", fraction)
  check.positive("copies", copies)

  def objective(params, batch, view):
    words = vocabulary(fn, params, batch, view)

    def copy(key):
      noisy = {**batch, "inputs": {**batch["inputs"], "tokens": replaced(batch, words, fraction, key)}}
      aligned, _ = answer(fn, params, noisy, view, train=train)
      return mean(losses.reduce_seq_mean(losses.token_nll(*aligned), aligned.mask), batch)

    values, auxes = jax.lax.map(copy, jax.random.split(fold_name(view.rng, "noise"), copies))
    return jnp.mean(values), {"weight": auxes["weight"][0]}

  return objective


def replaced(batch: RoleBatch, words: int, fraction: float, key: Array) -> Array:
  """The tokens of a batch, int[B, T], with floor(fraction n) of each row's n scored tokens but the last drawn anew.

  Example:
    >>> batch = {"inputs": {"tokens": jnp.full((1, 6), 9)}, "mask": jnp.array([[False, True, True, True, True, True]])}
    >>> int((replaced(batch, 5, 0.5, jax.random.key(0)) < 5).sum())
    2
  """
  tokens, mask = batch["inputs"]["tokens"], losses.drop_last(column(batch, "mask"))
  place, draw = jax.random.split(key)
  order = jnp.where(mask, jax.random.uniform(place, tokens.shape), jnp.inf)
  rank = jnp.argsort(jnp.argsort(order, axis=-1), axis=-1)
  count = jnp.floor(fraction * jnp.sum(mask, axis=-1, keepdims=True))
  return jnp.where(mask & (rank < count), jax.random.randint(draw, tokens.shape, 0, words), tokens)


def vocabulary(fn: ModelFn, params: Params, batch: RoleBatch, view: View) -> int:
  """How many tokens a model chooses from; nothing is computed."""
  return jax.eval_shape(lambda p: forward(fn, p, batch, view, train=False).logits, params).shape[-1]
