"""Token losses and the three ways to reduce them, which papers mix up.

Everything on language takes aligned arrays: `logits[b, t]` predicts `targets[b, t]`, and `mask[b, t]` says whether that
token is scored (the answer, its end token included; not the prompt, not padding). `next_tokens` aligns what a causal
model returns. What stands at positions that are not scored changes no value and no gradient, whatever it is.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


class Aligned(NamedTuple):
  """What a causal model predicts, and what came.

  Attributes:
    logits: f[B, T, V].
    targets: int[B, T], the token that `logits[:, t]` predict.
    mask: bool[B, T], which targets are scored.
  """

  logits: Array
  targets: Array
  mask: Array


def next_tokens(logits: Array, tokens: Array, mask: Array | None = None) -> Aligned:
  """Aligns predictions with the tokens they predict: position t predicts token t + 1.

  Args:
    logits: f[B, T, V] of a causal model.
    tokens: int[B, T] that the model read.
    mask: bool[B, T], `mask[b, t]` says whether token t is scored; all by default. Token 0 is never predicted.

  Returns:
    Aligned arrays of length T - 1.

  Example:
    >>> aligned = next_tokens(jnp.zeros((1, 3, 5)), jnp.array([[1, 2, 3]]), jnp.array([[False, False, True]]))
    >>> aligned.targets.tolist(), aligned.mask.tolist()
    ([[2, 3]], [[False, True]])
  """
  shapes.batched("logits", logits, "B, T, V")
  logits, tokens = jnp.asarray(logits), jnp.asarray(tokens)
  if np.shape(tokens) != np.shape(logits)[:2]:
    raise ValueError(f"tokens must be int[B, T] = int{list(np.shape(logits)[:2])}, got shape {np.shape(tokens)}")
  return Aligned(logits[:, :-1], tokens[:, 1:], scored_mask(mask, tokens.shape)[:, 1:])


def token_nll(logits: Array, targets: Array, mask: Array | None = None) -> Array:
  """-log softmax(logits)[target] of every scored token, in nats.

  Args:
    logits: f[B, T, V], aligned with the targets.
    targets: int[B, T] in [0, V) where they are scored; a scored target outside gives NaN rather than a wrong number.
      Elsewhere they may be anything, e.g. -100.
    mask: bool[B, T], all by default.

  Returns:
    f[B, T] >= 0 in float32 or wider; exactly 0 where the mask is False.

  Raises:
    ValueError: shapes that do not fit, targets that are not integers.

  Example:
    >>> nll = token_nll(jnp.zeros((1, 2, 4)), jnp.array([[3, -100]]), jnp.array([[True, False]]))
    >>> [round(float(x), 4) for x in nll[0]]
    [1.3863, 0.0]
  """
  logits, targets, mask = scored(logits, targets, mask)
  inside = (targets >= 0) & (targets < logits.shape[-1])
  picked = jnp.take_along_axis(logits, jnp.where(inside, targets, 0)[..., None], axis=-1)[..., 0]
  nll = jax.nn.logsumexp(logits, axis=-1) - picked
  return jnp.where(mask, jnp.where(inside, nll, jnp.nan), 0)


def reduce_token_mean(values: Array, mask: Array) -> Array:
  """Sum over the batch's scored tokens / their number: long answers weigh more. 0 where there are none.

  The loss of most training code. Over microbatches it must be weighted by the number of tokens.

  Args:
    values: f[B, T].
    mask: bool[B, T].

  Returns:
    f[].

  Example:
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> float(reduce_token_mean(jnp.array([[1.0, 1.0, 1.0], [5.0, 9.0, 9.0]]), mask))
    2.0
  """
  values, mask = _values(values, mask)
  return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(jnp.sum(mask), 1)


def reduce_seq_sum(values: Array, mask: Array) -> Array:
  """Sum over each row's scored tokens: of the nll it is -log p(answer | prompt), as NPO and DPO use it.

  Args:
    values: f[B, T].
    mask: bool[B, T].

  Returns:
    f[B].

  Example:
    >>> reduce_seq_sum(jnp.array([[1.0, 2.0], [5.0, 9.0]]), jnp.array([[True, True], [True, False]])).tolist()
    [3.0, 5.0]
  """
  values, mask = _values(values, mask)
  return jnp.sum(jnp.where(mask, values, 0), axis=-1)


def reduce_seq_mean(values: Array, mask: Array) -> Array:
  """Mean over each row's scored tokens, as SimNPO, FLAT and the truth ratio use it. 0 for rows without any.

  Args:
    values: f[B, T].
    mask: bool[B, T].

  Returns:
    f[B].

  Example:
    >>> reduce_seq_mean(jnp.array([[1.0, 2.0], [5.0, 9.0]]), jnp.array([[True, True], [True, False]])).tolist()
    [1.5, 5.0]
  """
  return reduce_seq_sum(values, mask) / jnp.maximum(jnp.sum(jnp.asarray(mask, bool), axis=-1), 1)


def drop_first(mask: Array, count: int) -> Array:
  """Takes the first `count` scored tokens of every row out of the mask.

  Args:
    mask: bool[B, T].
    count: >= 0.

  Example:
    >>> drop_first(jnp.array([[False, True, True, True]]), 1).tolist()
    [[False, False, True, True]]
  """
  check.positive("count", count, zero=True)
  mask = jnp.asarray(mask, bool)
  return mask & (jnp.cumsum(mask, axis=-1) > count)


def drop_last(mask: Array, count: int = 1) -> Array:
  """Takes the last `count` scored tokens of every row out of the mask: the end token, for scores that ignore it.

  Example:
    >>> drop_last(jnp.array([[False, True, True, False]])).tolist()
    [[False, True, False, False]]
  """
  return drop_first(jnp.asarray(mask, bool)[..., ::-1], count)[..., ::-1]


def scored_mask(mask: Array | None, shape: tuple[int, ...]) -> Array:
  """`mask` as bool[B, T]; all true when it is None.

  Raises:
    ValueError: another shape.
  """
  if mask is None:
    return jnp.ones(shape, bool)
  if np.shape(mask) != tuple(shape):
    raise ValueError(f"mask must be bool[B, T] = bool{list(shape)}, got shape {np.shape(mask)}")
  return jnp.asarray(mask, bool)


def scored(logits: Array, targets: Array | None, mask: Array | None) -> tuple[Array, Array, Array]:
  """Checked (logits in float32 or wider, targets, mask), with zeros in place of logits that are not scored.

  A logit that is not scored may be infinite or NaN: taken out before any arithmetic, it leaves no trace in gradients.
  """
  shapes.batched("logits", logits, "B, T, V")
  shape = np.shape(logits)[:2]
  targets = jnp.zeros(shape, jnp.int32) if targets is None else jnp.asarray(targets)
  if targets.shape != shape:
    raise ValueError(f"targets must be int[B, T] = int{list(shape)}, got shape {targets.shape}")
  shapes.whole_numbers("targets", targets)
  mask = scored_mask(mask, shape)
  return jnp.where(mask[..., None], shapes.at_least_f32(logits), 0), targets, mask


def _values(values: Array, mask: Array) -> tuple[Array, Array]:
  shapes.batched("values", values, "B, T")
  return shapes.at_least_f32(values), scored_mask(mask, np.shape(values))
