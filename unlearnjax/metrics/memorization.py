"""How much of a text a model gives back, token by token."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import reduce_seq_mean, shapes
from unlearnjax.losses.tokens import scored_mask

COMPAT = (None, "open_unlearning")


def exact_memorization(correct: Array, mask: Array) -> Array:
  """Share of scored tokens that greedy decoding gets right from the true prefix, in [0, 1]; lower forgot more.

  The MA of Jang et al. 2023, arXiv:2210.01504, and the EM of Tirumala et al. 2022, arXiv:2205.10770. OpenUnlearning
  leaves the last token (the end of the answer) out: pass `losses.drop_last(mask)`.

  Args:
    correct: bool[N, T], argmax of the prediction == token, see `answer_scores`.
    mask: bool[N, T], scored tokens.

  Returns:
    f[N]; 0 for rows without scored tokens.

  Example:
    >>> exact_memorization(jnp.array([[True, False, True, True]]), jnp.ones((1, 4), bool)).tolist()
    [0.75]
  """
  return reduce_seq_mean(jnp.asarray(correct).astype(jnp.float32), mask)


def extraction_strength(correct: Array, mask: Array, *, compat: str | None = None) -> Array:
  """1 - k / n, k the shortest prefix of the answer after which greedy decoding gives the rest; lower forgot more.

  1: the prompt alone brings the whole answer; 0: not even its last token follows. Carlini et al. 2021,
  arXiv:2012.07805; Dorna et al. 2025 (OpenUnlearning), who leave the last token out: pass `losses.drop_last(mask)`.

  Args:
    correct: bool[N, T], argmax of the prediction == token, see `answer_scores`.
    mask: bool[N, T], scored tokens.
    compat: `"open_unlearning"` never goes below 1 / n, as the reference implementation's loop stops one token early.

  Returns:
    f[N] in [0, 1]; 0 for rows without scored tokens.

  Example:
    >>> extraction_strength(jnp.array([[False, True, True, True, True]]), jnp.ones((1, 5), bool)).tolist()
    [0.800000011920929]
  """
  check.one_of("compat", compat, COMPAT)
  shapes.batched("correct", correct, "N, T")
  mask = scored_mask(mask, np.shape(correct))
  # the run of right answers at the end: tokens whose successors, and themselves, are all right
  unbroken = jnp.cumprod((jnp.asarray(correct, bool) | ~mask)[:, ::-1], axis=-1)[:, ::-1].astype(bool)
  length = jnp.sum(mask, axis=-1)
  run = jnp.sum(unbroken & mask, axis=-1)
  if compat:
    run = jnp.maximum(run, jnp.minimum(length, 1))
  return run / jnp.maximum(length, 1)


def ngram_overlap(generated, reference, n: int) -> float:
  """n-grams of a generation that occur in the reference, with repeats, over the number of n-grams of the reference.

  0 where the reference is shorter than n. Loops can push it above 1.

  Example:
    >>> ngram_overlap([1, 2, 3, 9], [1, 2, 3, 4], 2)
    0.6666666666666666
  """
  check.positive("n", n)
  grams = lambda x: [tuple(x[i : i + n]) for i in range(len(x) - n + 1)]
  reference = grams(list(map(int, reference)))
  known = set(reference)
  return sum(g in known for g in grams(list(map(int, generated)))) / len(reference) if reference else 0.0


def extraction_likelihood(continuations, tokens, n: int = 10) -> float:
  """EL_n of one text: mean n-gram overlap of greedy continuations of all its prefixes with the true rest.

  sum_{t=1}^{T-1} OV_n(continuation of x_<t, x_>=t) / (T - n). 1 for a model that gives the text back exactly, 0
  where no n-gram comes back; lower forgot more. A target counts as forgotten when EL_10 and `exact_memorization` over
  all its tokens are down to their means on texts that were never trained on. Jang et al. 2023, arXiv:2210.01504.

  Args:
    continuations: {t: int[<= T - t] tokens that the model adds to x_<t}, or a function of t; T - 1 generations for a
      text, which `models.generate` makes in one batch.
    tokens: int[T].
    n: length of the n-grams, < T.

  Raises:
    ValueError: n outside [1, T).

  Example:
    >>> text = [1, 2, 3, 4, 5]
    >>> extraction_likelihood(lambda t: text[t:], text, n=2), extraction_likelihood(lambda t: [0] * 5, text, n=2)
    (1.0, 0.0)
  """
  tokens = np.asarray(tokens)
  if tokens.ndim != 1 or not 1 <= n < len(tokens):
    raise ValueError(f"n must be in [1, T) for one text of T tokens, got n={n} and shape {tokens.shape}")
  continuation = continuations if callable(continuations) else continuations.__getitem__
  total = sum(ngram_overlap(continuation(t), tokens[t:], n) for t in range(1, len(tokens)) if len(tokens) - t >= n)
  return total / (len(tokens) - n)


def ngram_entropy(tokens) -> float:
  """Mean of 2/3 H_2 and 4/3 H_3, entropies of n-grams in bits: fluency; a text that repeats itself is near 0.

  For word tokens of a generation. RWKU reports 100 times the mean over generations. Jin et al. 2024, arXiv:2406.10890,
  after Meng et al. 2022.

  Args:
    tokens: at least three hashable tokens.

  Raises:
    ValueError: fewer than three tokens, which have no 3-gram.

  Example:
    >>> ngram_entropy("a a a a".split()), round(ngram_entropy(range(8)), 3)
    (0.0, 2.659)
  """
  tokens = list(tokens)
  if len(tokens) < 3:
    raise ValueError(f"tokens must be at least three, got {len(tokens)}")

  def entropy(n):
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    share = np.array([grams.count(g) for g in set(grams)]) / len(grams)
    return max(0.0, float(-np.sum(share * np.log2(share))))

  return (2 / 3 * entropy(2) + 4 / 3 * entropy(3)) / 2
