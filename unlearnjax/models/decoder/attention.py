"""Causal attention with packed segments, padding, windows and a cache of keys and values."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.models.decoder.config import TransformerConfig
from unlearnjax.models.decoder.layers import Tap, linear, normalize, rotate, softcap

Cache = dict[str, Array]


class Context(NamedTuple):
  """What all layers share of one call.

  Attributes:
    positions: int32[B, T] of the queries.
    visible: bool[B or 1, T, S]: which keys a query may see, before any window.
    distance: int32[B or 1, T, S], tokens between query and key; None where no layer has a window.
    angles: f32[B, T, H/2], rotary angles; None for learned positions. `local` are those of layers with a window.
    start: int32 slot of the cache where the new keys go; None without a cache.
  """

  positions: Array
  visible: Array
  distance: Array | None
  angles: Array | None
  local: Array | None
  start: Array | None


def visibility(c: TransformerConfig, shape: tuple[int, int], inputs, cache: Cache | None) -> tuple[Context, Cache]:
  """Positions and masks of a call, and the cache with the new tokens entered (its keys are the layers' to write).

  A query sees the keys that do not come later and have its segment id. Segment 0 is padding by convention: nothing
  else sees it. A token's position, where `positions` does not say, is how many earlier tokens of its segment there are.
  """
  batch, length = shape
  segments = inputs.get("segment_ids")
  positions = inputs.get("positions")
  start = None if cache is None else cache["length"]
  query_slots = jnp.arange(length) if start is None else start + jnp.arange(length)
  slots = length if cache is None else cache["segment_ids"].shape[1]
  earlier = jnp.arange(slots)[None, :] <= query_slots[:, None]
  if cache is None and segments is None:
    visible = earlier[None]
  else:
    segments = jnp.ones(shape, jnp.int32) if segments is None else segments.astype(jnp.int32)
    seen = segments if cache is None else _write(cache["segment_ids"], segments, start)
    visible = earlier & (segments[:, :, None] == seen[:, None, :])
  if positions is None:
    positions = jnp.broadcast_to(visible.sum(-1, dtype=jnp.int32) - 1, shape)
  known = positions
  if cache is not None:
    known = _write(cache["positions"], positions, start)
    cache = {**cache, "segment_ids": seen, "positions": known, "length": start + length}
  distance = positions[:, :, None] - known[:, None, :] if any(c.windows) else None
  return Context(positions, visible, distance, None, None, start), cache


def attend(
  c: TransformerConfig, params: dict[str, Any], x: Array, ctx: Context, window: Array | None, kv, tap: Tap
) -> tuple[Array, tuple[Array, Array] | None]:
  """The attention layer: f[B, T, D] -> f[B, T, D], and the keys and values with the new ones written.

  Args:
    window: int32 scalar, how far back this layer sees; 0 for all, None where no layer has a window.
    kv: (keys, values) of the cache, f[B, S, kv_heads, H] each, or None.
  """
  heads = lambda y, n: y.reshape(*y.shape[:2], n, c.head_dim)
  q = heads(linear(params, "attn/q", x, tap), c.heads)
  k = heads(linear(params, "attn/k", x, tap), c.kv_heads)
  v = heads(linear(params, "attn/v", x, tap), c.kv_heads)
  if c.qk_norm:
    q, k = normalize(c, params["q_norm"], q), normalize(c, params["k_norm"], k)
  if ctx.angles is not None:
    angles = ctx.angles if ctx.local is None or window is None else jnp.where(window > 0, ctx.local, ctx.angles)
    q, k = rotate(q, angles), rotate(k, angles)
  if kv is not None:
    kv = (_write(kv[0], k, ctx.start), _write(kv[1], v, ctx.start))
    k, v = (y.astype(x.dtype) for y in kv)
  visible = ctx.visible
  if ctx.distance is not None:
    visible = visible & ((ctx.distance < window) | (window == 0))
  mixed = mix(q, k, v, visible, scale=c.query_scale, cap=c.attn_softcap)
  return linear(params, "attn/out", mixed.reshape(*x.shape[:2], -1), tap), kv


def mix(q: Array, k: Array, v: Array, visible: Array, *, scale: float, cap: float = 0.0) -> Array:
  """Softmax attention with grouped heads; the softmax is in float32.

  Args:
    q: f[B, T, N, H]; query head n reads key head n // (N / K).
    k, v: f[B, S, K, H].
    visible: bool[B or 1, T, S]; every query must see a key.
    scale: of the logits.
    cap: soft cap of the logits; 0 for none.

  Returns:
    f[B, T, N, H].
  """
  b, t, n, h = q.shape
  grouped = q.reshape(b, t, k.shape[2], n // k.shape[2], h)
  wide = jnp.promote_types(q.dtype, jnp.float32)
  logits = jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=wide)
  logits = softcap(logits * scale, cap)
  logits = jnp.where(visible[:, None, None], logits, jnp.finfo(wide).min)
  weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
  mixed = jnp.einsum("bkgts,bskh->bkgth", weights.astype(v.dtype), v, preferred_element_type=wide)
  mixed = mixed / weights.sum(-1, keepdims=True)  # after the product: one pass over [T, S] less, and two in reverse
  return mixed.transpose(0, 3, 1, 2, 4).reshape(b, t, n, h).astype(v.dtype)


def empty_cache(c: TransformerConfig, batch: int, length: int, dtype: str | None = None) -> Cache:
  """A cache for `length` tokens of `batch` rows; see `Transformer.cache`."""
  shape = (c.depth, batch, length, c.kv_heads, c.head_dim)
  return {
    "keys": jnp.zeros(shape, dtype or c.dtype),
    "values": jnp.zeros(shape, dtype or c.dtype),
    "segment_ids": jnp.full((batch, length), -1, jnp.int32),
    "positions": jnp.zeros((batch, length), jnp.int32),
    "length": jnp.zeros((), jnp.int32),
  }


def _write(old: Array, new: Array, start: Array) -> Array:
  """`new` written into `old` along axis 1 from `start` on."""
  return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), start, axis=1)
