"""The layers of a `Transformer` as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.models.decoder.config import RopeScaling, TransformerConfig
from unlearnjax.models.sites import INPUT

UNSCALED = RopeScaling()
Tap = Callable[[str, Array], Array]

_ACTIVATION = {
  "silu": jax.nn.silu,
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
  "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
  "relu": jax.nn.relu,
}


def linear(params: dict[str, Any], name: str, x: Array, tap: Tap) -> Array:
  """x W + b in the dtype of `x`, with its input and output tapped; `name` ends in the key of `params`."""
  own = params[name.rpartition("/")[2]]
  x = tap(name + INPUT, x)
  y = product(x, own["kernel"].astype(x.dtype))
  if "bias" in own:
    y = y + own["bias"].astype(x.dtype)
  return tap(name, y)


def product(x: Array, kernel: Array, dtype: Any = None) -> Array:
  """x W for rows of features, f[..., D] and f[D, K].

  The rows form one axis, so that the gradient of W is a plain product as well. Contracted over two axes it is half as
  fast on a CPU, and takes a transposed copy of the rows.
  """
  rows = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel, preferred_element_type=dtype)
  return rows.reshape(*x.shape[:-1], kernel.shape[-1])


def normalize(c: TransformerConfig, params: dict[str, Array], x: Array) -> Array:
  """RMS or layer norm over the last axis, computed in float32."""
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  if c.norm == "layer":
    wide = wide - wide.mean(-1, keepdims=True)
  wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + c.norm_eps)
  scale = params["scale"].astype(wide.dtype)
  wide = wide * (1 + scale if c.norm_offset else scale)
  if "bias" in params:
    wide = wide + params["bias"].astype(wide.dtype)
  return wide.astype(x.dtype)


def softcap(x: Array, cap: float) -> Array:
  """cap * tanh(x / cap); x where cap is 0."""
  return cap * jnp.tanh(x / cap) if cap else x


def feedforward(c: TransformerConfig, params: dict[str, Any], name: str, x: Array, tap: Tap) -> Array:
  """down(act(gate(x)) * up(x)), or down(act(up(x))); `name` is the site of the layer."""
  act = _ACTIVATION[c.activation]
  up = linear(params, f"{name}/up", x, tap)
  up = act(linear(params, f"{name}/gate", x, tap)) * up if c.gated else act(up)
  return linear(params, f"{name}/down", up, tap)


def dropout(x: Array, rate: float, key: Array | None) -> Array:
  """Drops a fraction of `x` and scales up the rest; `x` where there is no key."""
  if key is None or not rate:
    return x
  return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0).astype(x.dtype)


def frequencies(head_dim: int, theta: float, scaling: RopeScaling = UNSCALED) -> Array:
  """Rotary frequencies f32[head_dim / 2], in radians a token, with the scaling of long contexts.

  "llama3": wavelengths longer than `original / low` are stretched by `factor`, those shorter than `original / high`
  are kept, and in between the frequency is interpolated. Dubey et al., arXiv:2407.21783.

  Example:
    >>> frequencies(4, 100.0).tolist()
    [1.0, 0.10000000149011612]
  """
  base = 1.0 / theta ** (jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
  if scaling.kind == "linear":
    return base / scaling.factor
  if scaling.kind == "llama3":
    turns = scaling.original * base / (2 * jnp.pi)  # over the context of pre-training
    kept = jnp.clip((turns - scaling.low) / (scaling.high - scaling.low), 0, 1)
    return base * (kept + (1 - kept) / scaling.factor)
  return base


def rotate(x: Array, angles: Array) -> Array:
  """Rotates the pairs (i, i + H/2) of every head of f[B, T, heads, H] by the angles f[B, T, H/2]."""
  cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
  a, b = jnp.split(x.astype(angles.dtype), 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)
