"""Networks for tables and images, as Flax NNX modules.

All of them hold their layers in the list `blocks` and end in the linear map `head`: `"blocks/0"` is the output of the
first block, `"head:in"` the penultimate features, `head/kernel` the classifier. Inputs are f[B, *input_shape], outputs
f[B, num_outputs].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from flax import nnx

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.models.layers import Conv, ConvBlock, DenseBlock, make_norm


class MLP(nnx.Module):
  """Fully connected network on the flattened input.

  Args:
    input_shape: shape of one example.
    num_outputs: classes, or regression targets.
    widths: sizes of the hidden layers; one block each.
    activation: "relu", "tanh", "gelu" or "silu".
    dropout: fraction of hidden units that are dropped in training, in [0, 1).

  Example:
    >>> mlp = MLP((8, 8, 1), 10, rngs=nnx.Rngs(0))
    >>> mlp(jax.numpy.zeros((2, 8, 8, 1))).shape, mlp.head.kernel.shape
    ((2, 10), (128, 10))
  """

  def __init__(
    self,
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    widths: Sequence[int] = (256, 128),
    activation: str = "relu",
    dropout: float = 0.0,
    rngs: nnx.Rngs,
  ):
    check.fraction("dropout", dropout, zero=True, one=False)
    sizes = (math.prod(input_shape), *widths)
    self.blocks = nnx.List(
      DenseBlock(size, width, activation=activation, dropout=dropout, rngs=rngs) for size, width in zip(sizes, widths)
    )
    self.head = nnx.Linear(sizes[-1], num_outputs, rngs=rngs)

  def __call__(self, x: Array) -> Array:
    x = x.reshape(x.shape[0], -1)
    for block in self.blocks:
      x = block(x)
    return self.head(x)


class RegressionMLP(MLP):
  """A small smooth network for tables: tanh, so that second derivatives exist everywhere.

  Args:
    input_shape: shape of one example.
    num_outputs: targets an example.
    widths: sizes of the hidden layers.
    activation, dropout: as for `MLP`.

  Example:
    >>> nnx.eval_shape(lambda x: RegressionMLP((8,), 1, rngs=nnx.Rngs(0))(x), jax.numpy.zeros((2, 8))).shape
    (2, 1)
  """

  def __init__(
    self,
    input_shape: Sequence[int],
    num_outputs: int = 1,
    *,
    widths: Sequence[int] = (64, 64),
    activation: str = "tanh",
    dropout: float = 0.0,
    rngs: nnx.Rngs,
  ):
    super().__init__(input_shape, num_outputs, widths=widths, activation=activation, dropout=dropout, rngs=rngs)


class ConvNet(nnx.Module):
  """Three convolutions that halve the resolution, one dense layer: `blocks/0` to `blocks/3`.

  Args:
    input_shape: (height, width, channels).
    num_outputs: classes.
    widths: channels of the convolutions; one block each.
    dense: width of the dense layer, the size of the penultimate features.
    downsample: "pool" takes the maximum over 2x2 squares, "stride" steps by two and costs a fifth.
    dropout: fraction of penultimate features that are dropped in training, in [0, 1).

  Raises:
    ValueError: images of another rank, or too small for that many halvings.

  Example:
    >>> logits = lambda x: ConvNet((28, 28, 1), 10, rngs=nnx.Rngs(0))(x)
    >>> nnx.eval_shape(logits, jax.numpy.zeros((2, 28, 28, 1))).shape  # without computing them
    (2, 10)
  """

  def __init__(
    self,
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    widths: Sequence[int] = (16, 32, 64),
    dense: int = 128,
    downsample: str = "pool",
    dropout: float = 0.0,
    rngs: nnx.Rngs,
  ):
    check.one_of("downsample", downsample, ("pool", "stride"))
    check.fraction("dropout", dropout, zero=True, one=False)
    height, width, channels = image_shape(input_shape)
    for _ in widths:
      height, width = (height // 2, width // 2) if downsample == "pool" else (-(-height // 2), -(-width // 2))
    if not height * width:
      raise ValueError(f"input_shape {tuple(input_shape)} is too small to be halved {len(widths)} times")
    sizes = (channels, *widths)
    convs = [ConvBlock(a, b, pool=downsample == "pool", rngs=rngs) for a, b in zip(sizes, widths)]
    flat = height * width * sizes[-1]
    self.blocks = nnx.List([*convs, DenseBlock(flat, dense, activation="relu", dropout=dropout, rngs=rngs)])
    self.head = nnx.Linear(dense, num_outputs, rngs=rngs)

  def __call__(self, x: Array) -> Array:
    for block in self.blocks:
      x = block(x)
    return self.head(x)


class ResidualBlock(nnx.Module):
  """conv, norm, relu, conv, norm, plus the input (through a 1x1 convolution where its shape changes), relu."""

  def __init__(self, size: int, width: int, *, stride: int, kind: str, rngs: nnx.Rngs):
    self.conv1 = Conv(size, width, stride=stride, bias=False, rngs=rngs)
    self.norm1 = make_norm(kind, width, rngs)
    self.conv2 = Conv(width, width, bias=False, rngs=rngs)
    self.norm2 = make_norm(kind, width, rngs)
    change = stride != 1 or size != width
    self.shortcut = Conv(size, width, kernel=1, stride=stride, bias=False, rngs=rngs) if change else None
    self.shortcut_norm = make_norm(kind, width, rngs) if change else None

  def __call__(self, x: Array) -> Array:
    y = self.norm2(self.conv2(jax.nn.relu(self.norm1(self.conv1(x)))))
    if self.shortcut is not None:
      x = self.shortcut_norm(self.shortcut(x))
    return jax.nn.relu(x + y)


class ResNet(nnx.Module):
  """Residual network in its CIFAR form. He et al., arXiv:1512.03385.

  A 3x3 stem without pooling, stages of residual blocks whose width doubles and whose resolution halves from the second
  stage on, the mean over pixels, `head`. Depth is 2 + 2 * sum(blocks_per_stage): (1, 1, 1) is ResNet-8, (3, 3, 3)
  ResNet-20, (2, 2, 2, 2) with width 64 the usual CIFAR ResNet-18.

  Args:
    input_shape: (height, width, channels).
    num_outputs: classes.
    blocks_per_stage: residual blocks in each stage, numbered through as `blocks/0`, `blocks/1`, ...
    width: channels of the first stage.
    norm: "batch" or "group".

  Example:
    >>> net = nnx.eval_shape(lambda: ResNet((32, 32, 3), 10, width=8, rngs=nnx.Rngs(0)))  # shapes alone
    >>> len(net.blocks), net.head.kernel.shape
    (3, (32, 10))
    >>> logits = lambda x: ResNet((32, 32, 3), 10, width=8, rngs=nnx.Rngs(0))(x)
    >>> nnx.eval_shape(logits, jax.numpy.zeros((2, 32, 32, 3))).shape
    (2, 10)
  """

  def __init__(
    self,
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    blocks_per_stage: Sequence[int] = (1, 1, 1),
    width: int = 16,
    norm: str = "batch",
    rngs: nnx.Rngs,
  ):
    channels = image_shape(input_shape)[2]
    self.stem = Conv(channels, width, bias=False, rngs=rngs)
    self.stem_norm = make_norm(norm, width, rngs)
    blocks, size = [], width
    for stage, count in enumerate(blocks_per_stage):
      for position in range(count):
        stride = 2 if stage and not position else 1
        blocks.append(ResidualBlock(size, width * 2**stage, stride=stride, kind=norm, rngs=rngs))
        size = width * 2**stage
    self.blocks = nnx.List(blocks)
    self.head = nnx.Linear(size, num_outputs, rngs=rngs)

  def __call__(self, x: Array) -> Array:
    x = jax.nn.relu(self.stem_norm(self.stem(x)))
    for block in self.blocks:
      x = block(x)
    return self.head(x.mean((1, 2)))


def image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
  """(height, width, channels), checked."""
  if len(input_shape) != 3:
    raise ValueError(f"input_shape must be (height, width, channels), got {tuple(input_shape)}")
  return tuple(input_shape)
