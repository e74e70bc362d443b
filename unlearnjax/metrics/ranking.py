"""How well scores order examples, and how far up the choices of a model the right one stands."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs


def mean_average_precision(scores: Array, targets: Array, valid: Array | None = None) -> Array:
  """Average precision, mean over the attributes that occur: precision at every positive, from the highest score down.

  Higher is better. Monotone changes of the scores do not matter.

  Args:
    scores: f[B, K], without NaN.
    targets: bool, int or float [B, K] in {0, 1}.
    valid: bool[B]; rows that are not do not count.

  Returns:
    f[] in [0, 1]; 0 where no attribute occurs.

  Example:
    >>> scores = jnp.array([[0.9], [0.8], [0.1]])
    >>> round(float(mean_average_precision(scores, jnp.array([[1], [0], [1]]))), 4)  # (1 / 1 + 2 / 3) / 2
    0.8333
  """
  if np.ndim(scores) != 2 or np.shape(scores) != np.shape(targets):
    raise ValueError(f"scores and targets must be [B, K] both, got {np.shape(scores)} and {np.shape(targets)}")
  inputs.no_nan("scores", scores)
  known = inputs.concrete(targets)
  if known is not None and not np.isin(known, (0, 1)).all():
    raise ValueError(f"targets must be 0 or 1, got {known[~np.isin(known, (0, 1))][0]}")
  scores = jnp.asarray(scores)
  keep = jnp.ones(scores.shape[0], bool) if valid is None else jnp.asarray(valid, bool)
  order = jnp.argsort(jnp.where(keep[:, None], -scores, jnp.inf), axis=0)
  counted = jnp.take_along_axis(jnp.broadcast_to(keep[:, None], scores.shape), order, 0).astype(jnp.float32)
  positive = jnp.take_along_axis(jnp.asarray(targets, jnp.float32), order, 0) * counted
  precision = jnp.cumsum(positive, 0) / jnp.maximum(jnp.cumsum(counted, 0), 1)
  found = jnp.sum(positive, 0)
  average = jnp.sum(precision * positive, 0) / jnp.maximum(found, 1)
  return jnp.sum(average) / jnp.maximum(jnp.sum(found > 0), 1)


def target_ranks(logits: Array, targets: Array) -> Array:
  """The place of each target in the order of its prediction, 1 for the first choice.

  Classes with the same logit share the best place among them.

  Args:
    logits: f[..., V], aligned with the targets.
    targets: int[...] in [0, V).

  Returns:
    int32[...] in [1, V].

  Raises:
    ValueError: shapes that do not fit, targets that are not integers in [0, V).

  Example:
    >>> target_ranks(jnp.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]]), jnp.array([1, 0])).tolist()
    [1, 3]
  """
  logits, targets = jnp.asarray(logits), jnp.asarray(targets)
  if logits.shape[:-1] != targets.shape:
    raise ValueError(f"targets must be int{list(logits.shape[:-1])} as the logits, got shape {targets.shape}")
  inputs.label_range("targets", targets, logits.shape[-1], "logits")
  own = jnp.take_along_axis(logits, targets[..., None], axis=-1)
  return 1 + jnp.sum(logits > own, axis=-1).astype(jnp.int32)


def mean_reciprocal_rank(ranks: Array, mask: Array | None = None) -> Array:
  """Mean of 1 / rank over what is scored; on a forget set lower forgot more.

  PISTOL takes it over the tokens of all answers, ranked while the model answers freely: `greedy_ranks`. Qiu et al.
  2024, arXiv:2406.16810.

  Args:
    ranks: int[...] >= 1, see `target_ranks`.
    mask: bool[...] what is scored, all by default.

  Returns:
    f[] in [0, 1]; 0 where nothing is scored.

  Example:
    >>> round(float(mean_reciprocal_rank(jnp.array([1, 4, 2, 9]), jnp.array([True, True, True, False]))), 4)
    0.5833
  """
  ranks, mask = _scored(ranks, mask)
  return jnp.sum(jnp.where(mask, 1 / jnp.maximum(ranks, 1), 0)) / jnp.maximum(jnp.sum(mask), 1)


def top_hit_ratio(ranks: Array, k: int = 100, mask: Array | None = None) -> Array:
  """Share of what is scored that is among the first k choices; on a forget set lower forgot more.

  PISTOL's hit@100. A choice at random hits with k / V: with small vocabularies a smaller k tells more. Qiu et al. 2024,
  arXiv:2406.16810.

  Args:
    ranks: int[...] >= 1, see `target_ranks`.
    k: >= 1.
    mask: bool[...] what is scored, all by default.

  Returns:
    f[] in [0, 1]; 0 where nothing is scored.

  Example:
    >>> float(top_hit_ratio(jnp.array([1, 4, 2, 9]), k=2))
    0.5
  """
  check.positive("k", k)
  ranks, mask = _scored(ranks, mask)
  return jnp.sum(mask & (ranks <= k)) / jnp.maximum(jnp.sum(mask), 1)


def _scored(ranks: Array, mask: Array | None) -> tuple[Array, Array]:
  ranks = jnp.asarray(ranks)
  mask = jnp.ones(ranks.shape, bool) if mask is None else jnp.asarray(mask, bool)
  if mask.shape != ranks.shape:
    raise ValueError(f"mask must have the shape of ranks {ranks.shape}, got {mask.shape}")
  shapes.whole_numbers("ranks", ranks)
  known = inputs.concrete(jnp.where(mask, ranks, 1))
  if known is not None and known.size and known.min() < 1:
    raise ValueError(f"ranks must be >= 1 where they are scored, got {known.min()}: mask what is not, ranks > 0")
  return ranks, mask
