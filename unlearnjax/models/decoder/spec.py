"""Every parameter of a `Transformer`: its path, shape, logical axes and how it starts."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array
from unlearnjax.models.decoder.config import TransformerConfig


class Leaf(NamedTuple):
  """One parameter. `std` is that of its normal draw; None where all start as `constant`."""

  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  std: float | None = None
  constant: float = 0.0


def leaves(c: TransformerConfig) -> dict[str, Leaf]:
  """Path -> leaf. Linear maps are `kernel` [in, out] and `bias` [out]; blocks are stacked, `layer` being their axis.

  Logical axes: "layer", "embed" (D), "heads" (query heads x H), "kv" (key heads x H), "mlp" (F), "vocab", "expert";
  None for what is never split.

  Example:
    >>> from unlearnjax.models.decoder.config import family
    >>> found = leaves(family("llama", vocab_size=256, dim=64, depth=2, heads=4, kv_heads=2, hidden=96))
    >>> found["blocks/attn/k/kernel"].shape, found["blocks/attn/k/kernel"].axes
    ((2, 64, 32), ('layer', 'embed', 'kv'))
  """
  std, out_std = c.init_std, c.init_std / math.sqrt(2 * c.depth)
  block: dict[str, Leaf] = {}

  def linear(name, n, m, axes, bias, scale=std):
    block[f"{name}/kernel"] = Leaf((n, m), axes, scale)
    if bias:
      block[f"{name}/bias"] = Leaf((m,), axes[1:])

  q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
  for name in ("norm1", "norm2", *(("norm1_post", "norm2_post") if c.post_norms else ())):
    block |= {f"{name}/{k}": v for k, v in _norm(c, c.dim).items()}
  linear("attn/q", c.dim, q, ("embed", "heads"), c.qkv_bias)
  linear("attn/k", c.dim, kv, ("embed", "kv"), c.qkv_bias)
  linear("attn/v", c.dim, kv, ("embed", "kv"), c.qkv_bias)
  linear("attn/out", q, c.dim, ("heads", "embed"), c.out_bias, out_std)
  if c.qk_norm:
    block |= {f"attn/{n}_norm/{k}": v for n in "qk" for k, v in _norm(c, c.head_dim).items()}
  feedforward = ("gate", "up", "down") if c.gated else ("up", "down")
  if not c.experts:
    for name in feedforward:
      sizes = (c.hidden, c.dim) if name == "down" else (c.dim, c.hidden)
      axes = ("mlp", "embed") if name == "down" else ("embed", "mlp")
      linear(f"mlp/{name}", *sizes, axes, c.mlp_bias, out_std if name == "down" else std)
  else:
    linear("mlp/router", c.dim, c.experts, ("embed", None), False)
    for name in ("gate", "up"):
      block[f"mlp/experts/{name}/kernel"] = Leaf((c.experts, c.dim, c.hidden), ("expert", "embed", "mlp"), std)
    block["mlp/experts/down/kernel"] = Leaf((c.experts, c.hidden, c.dim), ("expert", "mlp", "embed"), out_std)
    if c.shared_hidden:
      linear("mlp/shared/gate", c.dim, c.shared_hidden, ("embed", "mlp"), False)
      linear("mlp/shared/up", c.dim, c.shared_hidden, ("embed", "mlp"), False)
      linear("mlp/shared/down", c.shared_hidden, c.dim, ("mlp", "embed"), False, out_std)
      linear("mlp/shared_gate", c.dim, 1, ("embed", None), False)

  found = {"embed/table": Leaf((c.vocab_size, c.dim), ("vocab", "embed"), std)}
  if c.positions == "learned":
    found["position/table"] = Leaf((c.context, c.dim), (None, "embed"), std / 2)
  for path, leaf in block.items():
    found[f"blocks/{path}"] = leaf._replace(shape=(c.depth, *leaf.shape), axes=("layer", *leaf.axes))
  found |= {f"norm/{k}": v for k, v in _norm(c, c.dim).items()}
  if not c.tied:
    found["head/kernel"] = Leaf((c.dim, c.vocab_size), ("embed", "vocab"), std)
  return found


def initial(c: TransformerConfig, key: Array) -> dict[str, Array]:
  """Fresh parameters by path; each draws from a key of its own name."""
  dtype = jnp.dtype(c.param_dtype)

  def leaf(path, spec):
    if spec.std is None:
      return jnp.full(spec.shape, spec.constant, dtype)
    return (spec.std * jax.random.normal(fold_name(key, path), spec.shape)).astype(dtype)

  return {path: leaf(path, spec) for path, spec in leaves(c).items()}


def _norm(c: TransformerConfig, size: int) -> dict[str, Leaf]:
  scale = {"scale": Leaf((size,), (None,), constant=0.0 if c.norm_offset else 1.0)}
  return scale | ({"bias": Leaf((size,), (None,))} if c.norm == "layer" else {})
