"""A small network with batch statistics: two normalised layers and a head, as an NNX module."""

from __future__ import annotations

import jax
from flax import nnx

from unlearnjax.models import from_nnx


class NormNet(nnx.Module):
  """linear, norm, rectifier, twice; then a head."""

  def __init__(self, rngs: nnx.Rngs):
    self.first, self.norm1 = nnx.Linear(4, 8, rngs=rngs), nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
    self.second, self.norm2 = nnx.Linear(8, 8, rngs=rngs), nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
    self.dropout, self.head = nnx.Dropout(0.1, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

  def __call__(self, x):
    x = jax.nn.relu(self.norm1(self.first(x)))
    return self.head(self.dropout(jax.nn.relu(self.norm2(self.second(x)))))


def make(rngs: nnx.Rngs) -> NormNet:
  return NormNet(rngs)


NORM = from_nnx(make, jax.ShapeDtypeStruct((1, 4), "float32"))
