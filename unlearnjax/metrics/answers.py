"""One pass over a data set of language: everything that its metrics and membership scores are made of."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import losses
from unlearnjax.core import Model, Run, Statistic, as_examples, fold
from unlearnjax.core.types import Array
from unlearnjax.objectives.bind import eval_view
from unlearnjax.objectives.cached import capacity, per_row
from unlearnjax.objectives.tokens import answer, answer_batch

MIN_VARIANCE = 1e-6


class AnswerScores(NamedTuple):
  """Scores of N answers, token by token; position t of the arrays speaks of token t + 1. 0 where nothing is scored.

  Attributes:
    logp: f32[N, T - 1], log p(token | what came before).
    correct: bool[N, T - 1], whether it is the model's first choice.
    normalized: f32[N, T - 1], see `normalized_logp`.
    mask: bool[N, T - 1], scored tokens.
  """

  logp: np.ndarray
  correct: np.ndarray
  normalized: np.ndarray
  mask: np.ndarray

  @property
  def mean_nll(self) -> np.ndarray:
    """f32[N], mean over scored tokens of -logp; 0 for rows without any."""
    return -self.logp.sum(-1) / np.maximum(self.mask.sum(-1), 1)


def answer_scores(model: Model, source: Any, run: Run | None = None, *, answers: str = "") -> AnswerScores:
  """Runs a language model over a source once, in eval mode.

  Args:
    model: a causal language model.
    source: a `Source` of language, see `objectives.tokens`.
    run: batch size, mesh, progress, ledger.
    answers: which answers, see `objectives.tokens`.

  Returns:
    host arrays in the order of the source: what `answer_probability`, `truth_ratio`, `exact_memorization`,
    `extraction_strength` and `attacks.min_k` read.

  Example:
    >>> from unlearnjax.core import Examples, Outputs
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> table = Examples({"tokens": np.array([[0, 1, 2]]), "mask": np.array([[False, True, True]])})
    >>> scores = answer_scores(Model(10 * jnp.roll(jnp.eye(4), 1, axis=1), fn=bigram), table)
    >>> scores.correct.tolist(), bool(scores.mean_nll[0] < 1e-3)
    ([[True, True]], True)
  """
  source = as_examples(source)
  width = source.columns[f"{answers}_tokens" if answers else "tokens"].shape[1] - 1
  found = fold(_scores(answers, capacity(len(source)), width), model, source, run, name="answers")
  return AnswerScores(*(np.asarray(x)[: len(source)] for x in found))


@functools.lru_cache(maxsize=64)
def _scores(answers: str, rows: int, width: int) -> Statistic:
  """One value for all calls of a size, so that they share a compilation."""

  def score(model, batch):
    view = eval_view(model, jax.random.key(0))
    aligned = answer(model.fn, model.params, answer_batch(batch, answers), view, train=False)[0]
    right = (jnp.argmax(aligned.logits, axis=-1) == aligned.targets) & aligned.mask
    return AnswerScores(-losses.token_nll(*aligned), right, normalized_logp(*aligned), aligned.mask)

  like = {f: jax.ShapeDtypeStruct((width,), jnp.float32) for f in AnswerScores._fields}
  flags = jax.ShapeDtypeStruct((width,), jnp.bool_)
  return per_row(score, AnswerScores(**{**like, "correct": flags, "mask": flags}), rows)


def normalized_logp(logits: Array, targets: Array, mask: Array | None = None) -> Array:
  """(log p(token) - mu) / sigma, mu and sigma^2 mean and variance of log p under the prediction itself.

  The token scores of Min-K%++. Zhang et al. 2024, arXiv:2404.02936.

  Args:
    logits: f[B, T, V], aligned with the targets.
    targets: int[B, T].
    mask: bool[B, T], all by default.

  Returns:
    f[B, T], 0 where nothing is scored; the variance is taken as at least 1e-6 (it is 0 for a uniform prediction).

  Example:
    >>> logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25]] * 2]))
    >>> normalized_logp(logits, jnp.array([[0, 1]])).round(3).tolist()
    [[1.0, -1.0]]
  """
  logits, targets, mask = losses.tokens.scored(logits, targets, mask)
  logp = jax.nn.log_softmax(logits, axis=-1)
  finite = jnp.where(jnp.isfinite(logp), logp, 0)  # a token of probability 0 adds nothing to the moments
  p = jnp.exp(logp)
  mu = jnp.sum(p * finite, axis=-1)
  variance = jnp.sum(p * jnp.square(finite - mu[..., None]), axis=-1)
  own = jnp.take_along_axis(logp, jnp.where(mask, targets, 0)[..., None], axis=-1)[..., 0]
  return jnp.where(mask, (own - mu) / jnp.sqrt(jnp.maximum(variance, MIN_VARIANCE)), 0)
