"""The k-th largest of integers that can only be counted: a few thresholds a pass, no sort, no histogram in memory.

A pass counts, for T thresholds at once, how many keys reach them. Half of them cut the bracket into even parts, so that
every pass gains log2(T / 2) bits whatever the keys; the others lie around the place where interpolation expects the
answer, so that smooth data need few passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.kernels import wide
from unlearnjax.kernels.wide import Wide


class Bracket(NamedTuple):
  """Per group: the answer lies in [low, high]; at least k keys, `reach`, are >= low, and fewer, `above`, are > high."""

  low: Array
  high: Array
  reach: Wide
  above: Wide


def search(
  counts: Callable[[Array], Array],
  combine: Callable[[Array], Wide],
  start: Bracket,
  k: Wide,
  width: int,
  *,
  first: Array | None = None,
  watch: Array | None = None,
  exact: bool = False,
) -> tuple[Bracket, Array]:
  """Largest t such that at least k keys are >= t, for G groups of L leaves at once.

  Args:
    counts: unsigned thresholds[G, T] -> uint32[L, T], keys of each leaf that are >= the thresholds of its group.
    combine: uint32[L, T] -> Wide[G, T].
    start: the first bracket, arrays [G].
    k: Wide[G], <= start.reach.
    width: T, a multiple of 4.
    first: thresholds[G, T] of the first pass, a guess.
    watch: [G] a threshold that takes part in every pass.
    exact: search to the end; otherwise a low with exactly k keys is enough.

  Returns:
    (bracket, uint32[L] counts at `watch`). Where `reach` is not k, low == high is the k-th largest key.
  """
  # rows of counts are known only from a call: the shape tells L
  leaves = jax.eval_shape(counts, jnp.zeros((*start.low.shape, width), start.low.dtype)).shape[0]

  def open_(state):
    passes, bracket, _ = state
    going = bracket.low < bracket.high
    return (passes == 0) | jnp.any(going if exact else going & ~wide.equal(bracket.reach, k))

  def body(state):
    passes, bracket, _ = state
    thresholds = jax.vmap(lambda b, k: _next(b, k, width))(bracket, k)
    if first is not None:
      thresholds = jnp.where(passes == 0, first, thresholds)
    if watch is not None:
      thresholds = thresholds.at[:, -1].set(watch)
    found = counts(thresholds)
    return passes + 1, jax.vmap(_narrow)(bracket, thresholds, combine(found), k), found[:, -1]

  state = jnp.zeros((), jnp.int32), start, jnp.zeros(leaves, jnp.uint32)
  _, bracket, watched = jax.lax.while_loop(open_, body, state)
  return bracket, watched


def _narrow(bracket: Bracket, thresholds: Array, totals: Wide, k: Wide) -> Bracket:
  enough = ~wide.less(totals, Wide(*(jnp.broadcast_to(x, thresholds.shape) for x in k)))
  up = jnp.argmax(jnp.where(enough, thresholds, 0))
  rises = enough[up] & (thresholds[up] > bracket.low)
  top = jnp.array(jnp.iinfo(thresholds.dtype).max, thresholds.dtype)
  down = jnp.argmin(jnp.where(enough, top, thresholds))
  falls = ~enough[down] & (thresholds[down] <= bracket.high)
  at = lambda i: Wide(totals.high[i], totals.low[i])
  return Bracket(
    jnp.where(rises, thresholds[up], bracket.low),
    jnp.where(falls, thresholds[down] - 1, bracket.high),
    wide.pick(rises, at(up), bracket.reach),
    wide.pick(falls, at(down), bracket.above),
  )


def _next(bracket: Bracket, k: Wide, count: int) -> Array:
  """Thresholds in (low, high]."""
  kind, width = bracket.low.dtype, bracket.high - bracket.low
  span = width.astype(jnp.float32)
  inside = jnp.maximum(wide.as_float(wide.minus(bracket.reach, bracket.above)), 1)
  part = jnp.clip(wide.as_float(wide.minus(bracket.reach, k)) / inside, 0, 1)
  spread = jnp.maximum(1.5 * jnp.sqrt(part * (1 - part) / inside) * span, 1)
  # from what chance allows up to what a curved distribution may need
  apart = spread * jnp.maximum(span / 8 / spread, 1) ** (jnp.arange(count // 4) / (count // 4))
  around = jnp.concatenate([part * span - apart, part * span + apart])
  # a float32 close to 2**32 must not be rounded up to it
  around = jnp.clip(around, 0, span * (1 - 1e-6)).astype(kind)
  even = (width // (count // 2) + 1) * jnp.arange(count // 2, dtype=kind)
  spaced = jnp.clip(jnp.concatenate([around, even]), 1, jnp.maximum(width, 1))
  each = jnp.minimum(1 + jnp.arange(count, dtype=kind), jnp.maximum(width, 1))
  return bracket.low + jnp.where(width < count, each, spaced).astype(kind)
