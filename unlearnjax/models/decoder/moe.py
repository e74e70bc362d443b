"""Mixture-of-experts feedforward layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.models.decoder.config import TransformerConfig
from unlearnjax.models.decoder.layers import _ACTIVATION, Tap, feedforward, linear


def mixture(c: TransformerConfig, params: dict[str, Any], x: Array, tap: Tap) -> Array:
  """Each token goes through its `experts_per_token` likeliest experts; no token is dropped.

  The router's logits f[B, T, E] are the site `mlp/router`: a load-balancing loss or an attack on the routing reads or
  rewrites them there. With `config.grouped` tokens are sorted by expert and multiplied in groups, at the cost of the
  chosen experts; otherwise every expert sees every token, which `vmap` (gradients of single examples) needs.

  Shazeer et al., arXiv:1701.06538; Jiang et al., arXiv:2401.04088.
  """
  logits = linear(params, "mlp/router", x, tap)
  shares = jax.nn.softmax(logits.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=-1)
  weights, chosen = jax.lax.top_k(shares, c.experts_per_token)  # [B, T, k]
  if c.router_normalize:
    weights = weights / weights.sum(-1, keepdims=True)
  kernels = {name: own["kernel"].astype(x.dtype) for name, own in params["experts"].items()}
  rows = (a.reshape(-1, a.shape[-1]) for a in (x, weights.astype(x.dtype), chosen))
  y = (_grouped if c.grouped else _dense)(_ACTIVATION[c.activation], kernels, *rows).reshape(x.shape)
  if c.shared_hidden:
    share = jax.nn.sigmoid(linear(params, "mlp/shared_gate", x, tap))
    y = y + share * feedforward(c, params["shared"], "mlp/shared", x, tap)
  return y


def _grouped(act, kernels: dict[str, Array], x: Array, weights: Array, chosen: Array) -> Array:
  """The weighted sum f[N, D] of the outputs of the experts `chosen` int[N, k] for the rows `x` f[N, D]."""
  count, k = kernels["up"].shape[0], chosen.shape[1]
  order = jnp.argsort(chosen.reshape(-1))  # stable: rows of one expert lie together
  sizes = jnp.bincount(chosen.reshape(-1), length=count).astype(jnp.int32)
  product = lambda name, h: jax.lax.ragged_dot(h, kernels[name], sizes)
  rows = x[order // k]
  out = product("down", act(product("gate", rows)) * product("up", rows))
  return jnp.einsum("nk,nkd->nd", weights, out[jnp.argsort(order)].reshape(*weights.shape, -1))


def _dense(act, kernels: dict[str, Array], x: Array, weights: Array, chosen: Array) -> Array:
  """The same, with every expert computed for every row."""
  count = kernels["up"].shape[0]
  shares = jnp.einsum("nk,nke->ne", weights, jax.nn.one_hot(chosen, count, dtype=x.dtype))
  product = lambda name: jnp.einsum("nd,edf->nef", x, kernels[name])
  return jnp.einsum("ne,nef,efd->nd", shares, act(product("gate")) * product("up"), kernels["down"])
