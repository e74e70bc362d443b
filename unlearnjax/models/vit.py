"""A small vision transformer."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.models.vision import image_shape


class Attention(nnx.Module):
  """Multi-head self-attention; queries, keys and values are separate maps, so that each can be selected and sharded."""

  def __init__(self, dim: int, heads: int, *, rngs: nnx.Rngs):
    self.q = nnx.Linear(dim, dim, rngs=rngs)
    self.k = nnx.Linear(dim, dim, rngs=rngs)
    self.v = nnx.Linear(dim, dim, rngs=rngs)
    self.out = nnx.Linear(dim, dim, rngs=rngs)
    self.heads = heads

  def __call__(self, x: Array) -> Array:
    split = lambda y: y.reshape(*y.shape[:-1], self.heads, -1)
    mixed = jax.nn.dot_product_attention(split(self.q(x)), split(self.k(x)), split(self.v(x)))
    return self.out(mixed.reshape(x.shape))


class Feedforward(nnx.Module):
  """Two linear maps with gelu between them."""

  def __init__(self, dim: int, hidden: int, *, rngs: nnx.Rngs):
    self.up = nnx.Linear(dim, hidden, rngs=rngs)
    self.down = nnx.Linear(hidden, dim, rngs=rngs)

  def __call__(self, x: Array) -> Array:
    return self.down(jax.nn.gelu(self.up(x)))


class EncoderBlock(nnx.Module):
  """Attention and feedforward layers, each on normalised input and added to the stream."""

  def __init__(self, dim: int, heads: int, hidden: int, dropout: float, *, rngs: nnx.Rngs):
    self.norm1 = nnx.LayerNorm(dim, rngs=rngs)
    self.attn = Attention(dim, heads, rngs=rngs)
    self.norm2 = nnx.LayerNorm(dim, rngs=rngs)
    self.mlp = Feedforward(dim, hidden, rngs=rngs)
    self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

  def __call__(self, x: Array) -> Array:
    drop = self.dropout or (lambda y: y)
    x = x + drop(self.attn(self.norm1(x)))
    return x + drop(self.mlp(self.norm2(x)))


class ViT(nnx.Module):
  """Vision transformer. Dosovitskiy et al., arXiv:2010.11929.

  Args:
    input_shape: (height, width, channels); height and width are multiples of `patch`.
    num_outputs: classes.
    patch: side of a square patch; a patch is one token.
    dim: width of the tokens, a multiple of `heads`.
    depth: number of encoder blocks, `blocks/0`, `blocks/1`, ...
    heads: attention heads.
    hidden: width of the feedforward layers; 2 * dim by default.
    pool: "mean" of the tokens, or a learned token "cls", goes to the head.
    dropout: fraction of the blocks' outputs that is dropped in training, in [0, 1).

  Raises:
    ValueError: sizes that do not divide.

  Example:
    >>> ViT((28, 28, 1), 10, depth=1, rngs=nnx.Rngs(0))(jnp.zeros((2, 28, 28, 1))).shape
    (2, 10)
  """

  def __init__(
    self,
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    patch: int = 4,
    dim: int = 64,
    depth: int = 4,
    heads: int = 4,
    hidden: int | None = None,
    pool: str = "mean",
    dropout: float = 0.0,
    rngs: nnx.Rngs,
  ):
    height, width, channels = image_shape(input_shape)
    if height % patch or width % patch:
      raise ValueError(f"patch must divide the image, got patch {patch} and input_shape {tuple(input_shape)}")
    if dim % heads:
      raise ValueError(f"heads must divide dim, got {heads} heads and dim {dim}")
    check.one_of("pool", pool, ("mean", "cls"))
    check.fraction("dropout", dropout, zero=True, one=False)
    tokens = (height // patch) * (width // patch) + (pool == "cls")
    near_zero = nnx.initializers.normal(0.02)
    self.embed = nnx.Linear(patch * patch * channels, dim, rngs=rngs)
    self.cls = nnx.Param(near_zero(rngs.params(), (1, 1, dim))) if pool == "cls" else None
    self.position = nnx.Param(near_zero(rngs.params(), (1, tokens, dim)))
    self.blocks = nnx.List(EncoderBlock(dim, heads, hidden or 2 * dim, dropout, rngs=rngs) for _ in range(depth))
    self.norm = nnx.LayerNorm(dim, rngs=rngs)
    self.head = nnx.Linear(dim, num_outputs, rngs=rngs)
    self.patch = patch

  def __call__(self, x: Array) -> Array:
    x = self.embed(patches(x, self.patch))
    if self.cls is not None:
      x = jnp.concatenate([jnp.broadcast_to(self.cls[...], (x.shape[0], 1, x.shape[-1])).astype(x.dtype), x], 1)
    x = x + self.position[...]
    for block in self.blocks:
      x = block(x)
    x = self.norm(x)
    return self.head(x.mean(1) if self.cls is None else x[:, 0])


def patches(x: Array, size: int) -> Array:
  """f[B, H, W, C] cut into squares: f[B, (H / size) (W / size), size * size * C], row by row.

  Example:
    >>> patches(jnp.arange(16).reshape(1, 4, 4, 1), 2)[0, 1].tolist()
    [2, 3, 6, 7]
  """
  b, h, w, c = x.shape
  x = x.reshape(b, h // size, size, w // size, size, c).swapaxes(2, 3)
  return x.reshape(b, (h // size) * (w // size), size * size * c)
