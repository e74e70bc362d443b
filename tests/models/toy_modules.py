"""One network as an NNX module, and again in Linen and by hand; and a module with every kind of variable."""

from __future__ import annotations

import jax
from flax import linen, nnx

SIZES = (5, 8, 3)


class Block(nnx.Module):
  def __init__(self, rngs):
    self.fc = nnx.Linear(5, 8, rngs=rngs)

  def __call__(self, x):
    return jax.nn.relu(self.fc(x))


class Small(nnx.Module):
  """x [B, 5] -> block -> head [B, 3]."""

  def __init__(self, rngs):
    self.blocks = nnx.List([Block(rngs)])
    self.head = nnx.Linear(8, 3, rngs=rngs)

  def __call__(self, x):
    for block in self.blocks:
      x = block(x)
    return self.head(x)


class LinenSmall(linen.Module):
  @linen.compact
  def __call__(self, x):
    return linen.Dense(3, name="head")(jax.nn.relu(linen.Dense(8, name="fc")(x)))


def plain_small(params, x, *, tap):
  h = tap("fc", x @ params["fc"]["kernel"] + params["fc"]["bias"])
  h = tap("head:in", jax.nn.relu(h))
  return h @ params["head"]["kernel"] + params["head"]["bias"]


class Busy(nnx.Module):
  """Batch statistics, dropout, and twelve layers so that list indices have two digits."""

  def __init__(self, rngs):
    self.blocks = nnx.List([nnx.Linear(5, 5, rngs=rngs) for _ in range(12)])
    self.bn = nnx.BatchNorm(5, rngs=rngs)
    self.drop = nnx.Dropout(0.5, rngs=rngs)
    self.head = nnx.Linear(5, 3, rngs=rngs)

  def __call__(self, x):
    for block in self.blocks:
      x = x + 0.1 * block(x)
    return self.head(self.drop(self.bn(x)))


class LinenBusy(linen.Module):
  @linen.compact
  def __call__(self, x, train):
    x = linen.BatchNorm(use_running_average=not train, momentum=0.9, name="bn")(linen.Dense(5, name="fc")(x))
    return linen.Dense(3, name="head")(linen.Dropout(0.5, deterministic=not train)(x))
