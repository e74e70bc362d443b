"""A small variational autoencoder of feature vectors, as two functions of a plain dict of weights."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, Params

WIDTHS = (128, 32)


def init_autoencoder(key: Array, width: int, latent: int = 8) -> Params:
  """Weights of width -> 128 -> 32 -> latent (mean and log-variance) -> 32 -> 128 -> width.

  Args:
    key: a typed key.
    width: d of the features.
    latent: k of the code.

  Example:
    >>> params = init_autoencoder(jax.random.key(0), 16, 4)
    >>> sorted(params), params["encoder"]["2"]["kernel"].shape
    (['decoder', 'encoder'], (32, 8))
  """
  check.positive("width", width)
  check.positive("latent", latent)
  stacks = {"encoder": (width, *WIDTHS, 2 * latent), "decoder": (latent, *reversed(WIDTHS), width)}
  params = {}
  for name, sizes in stacks.items():
    key, use = jax.random.split(key)
    keys = jax.random.split(use, len(sizes) - 1)
    params[name] = {str(i): _layer(k, a, b) for i, (k, (a, b)) in enumerate(zip(keys, itertools.pairwise(sizes)))}
  return params


def autoencode(params: Params, features: Array, key: Array, *, sigmoid: bool = False) -> tuple[Array, Array, Array]:
  """Encodes, draws a code and decodes.

  Args:
    params: of `init_autoencoder`.
    features: f[B, d].
    key: of the code, mean + exp(log-variance / 2) * N(0, I).
    sigmoid: squeezes the reconstruction into (0, 1); what is larger or negative then cannot be met.

  Returns:
    (reconstruction f[B, d], mean f[B, k], log-variance f[B, k]).

  Example:
    >>> out, mean, _ = autoencode(init_autoencoder(jax.random.key(0), 16, 4), jnp.ones((2, 16)), jax.random.key(1))
    >>> out.shape, mean.shape
    ((2, 16), (2, 4))
  """
  mean, log_variance = jnp.split(_stack(params["encoder"], features), 2, axis=-1)
  code = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape, mean.dtype)
  out = _stack(params["decoder"], code)
  return jax.nn.sigmoid(out) if sigmoid else out, mean, log_variance


def _layer(key: Array, inputs: int, outputs: int) -> Params:
  return {"kernel": jax.random.normal(key, (inputs, outputs)) * math.sqrt(2 / inputs), "bias": jnp.zeros(outputs)}


def _stack(layers: Params, x: Array) -> Array:
  """Linear maps with relu between them."""
  for i in range(len(layers)):
    x = (jax.nn.relu(x) if i else x) @ layers[str(i)]["kernel"] + layers[str(i)]["bias"]
  return x
