"""The few layers that the image and table models are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.models.convolution import conv2d

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "relu": jax.nn.relu,
  "tanh": jnp.tanh,
  "gelu": jax.nn.gelu,
  "silu": jax.nn.silu,
}
SCALED = nnx.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
"""He et al., arXiv:1502.01852: keeps the variance through rectified layers."""


class DenseBlock(nnx.Module):
  """Linear map of the flattened input, activation, dropout."""

  def __init__(self, size: int, width: int, *, activation: str, dropout: float, rngs: nnx.Rngs):
    check.one_of("activation", activation, ACTIVATIONS)
    scale = SCALED if activation == "relu" else nnx.initializers.lecun_normal()
    self.linear = nnx.Linear(size, width, kernel_init=scale, rngs=rngs)
    self.activation = activation
    self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

  def __call__(self, x: Array) -> Array:
    x = ACTIVATIONS[self.activation](self.linear(x.reshape(x.shape[0], -1)))
    return x if self.dropout is None else self.dropout(x)


class Conv(nnx.Module):
  """Square convolution of NHWC images, zero-padded to keep the size (divided by the stride, rounded up)."""

  def __init__(self, size: int, width: int, *, kernel: int = 3, stride: int = 1, bias: bool = True, rngs: nnx.Rngs):
    self.kernel = nnx.Param(SCALED(rngs.params(), (kernel, kernel, size, width), jnp.float32))
    self.bias = nnx.Param(jnp.zeros(width)) if bias else None
    self.stride = stride

  def __call__(self, x: Array) -> Array:
    kernel = self.kernel[...]
    x = conv2d(x, kernel, stride=self.stride, padding=kernel.shape[0] // 2)
    return x if self.bias is None else x + self.bias[...]


class ConvBlock(nnx.Module):
  """3x3 convolution, relu, and half the resolution by pooling or by stride."""

  def __init__(self, size: int, width: int, *, pool: bool, rngs: nnx.Rngs):
    self.conv = Conv(size, width, stride=1 if pool else 2, rngs=rngs)
    self.pool = pool

  def __call__(self, x: Array) -> Array:
    x = self.conv(x)
    return jax.nn.relu(max_pool(x) if self.pool else x)


def max_pool(x: Array) -> Array:
  """Maximum over 2x2 squares of f[B, H, W, C]; an odd last row or column is dropped.

  Written as maxima of a reshaped array: on CPUs several times faster than a windowed reduction, above all backwards.

  Example:
    >>> max_pool(jnp.arange(9.0).reshape(1, 3, 3, 1)).tolist()
    [[[[4.0]]]]
  """
  b, h, w, c = x.shape
  x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
  return x.max((2, 4))


def make_norm(kind: str, size: int, rngs: nnx.Rngs) -> nnx.Module:
  """Batch normalisation (decay 0.9) or group normalisation (8 groups, or as many as divide the width)."""
  check.one_of("norm", kind, ("batch", "group"))
  if kind == "batch":
    return nnx.BatchNorm(size, momentum=0.9, epsilon=1e-5, rngs=rngs)
  return nnx.GroupNorm(size, num_groups=math.gcd(size, 8), epsilon=1e-5, rngs=rngs)
