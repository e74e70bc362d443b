"""What distinguishes one decoder-only Transformer from another, as one frozen value."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from unlearnjax.core import check

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu")


class RopeScaling(NamedTuple):
  """How rotary frequencies are changed for contexts longer than those of pre-training.

  Attributes:
    kind: "default", "linear" (all frequencies divided by `factor`) or "llama3" (only the low ones).
    factor: >= 1.
    low, high: "llama3": wavelengths above `original / low` are scaled, those below `original / high` are not.
    original: "llama3": context of pre-training, in tokens.
  """

  kind: str = "default"
  factor: float = 1.0
  low: float = 1.0
  high: float = 4.0
  original: int = 8192


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Sizes and switches of a `Transformer`. `family(name, **sizes)` sets the switches of a known family.

  Attributes:
    family: the name under which `save_hf` writes it; it changes no computation.
    vocab_size: V.
    dim: D, width of the residual stream.
    depth: L, number of blocks.
    heads: query heads; `kv_heads` of them are keys and values (0: as many).
    head_dim: H, width of a head (0: dim / heads).
    hidden: F, width of the feedforward layers (0: 4 * dim).
    context: the longest sequence, in tokens.
    norm: "rms" or "layer"; `norm_eps` is added to the variance; `norm_offset`: the scale is 1 + weight (Gemma).
    post_norms: a further norm on what attention and feedforward add to the stream (Gemma 2 and 3).
    qk_norm: queries and keys are normalised per head (Qwen 3, Gemma 3).
    positions: "rope" or "learned".
    rope_theta, rope_scaling: base and scaling of the rotary frequencies.
    rope_theta_local: base for layers with a window, without scaling (Gemma 3); 0: as the others.
    windows: how many tokens back each layer sees, itself included; 0: all of them. Empty: no layer has a window.
    gated: feedforward is down(act(gate(x)) * up(x)), else down(act(up(x))).
    activation: "silu", "gelu" (exact), "gelu_tanh" or "relu".
    qkv_bias, out_bias, mlp_bias: which linear maps have a bias.
    tied: the output layer is the embedding table.
    embed_scale: embeddings are multiplied by it.
    query_scale: attention logits are multiplied by it (0: 1 / sqrt(head_dim)).
    attn_softcap, logit_softcap: c: x becomes c tanh(x / c) (Gemma 2); 0: off.
    experts: E, feedforward experts of a layer; 0: one dense feedforward layer.
    experts_per_token: how many of them a token goes through.
    grouped: tokens are sorted by expert, so that only the chosen experts are computed. `vmap` of gradients (one an
      example) needs False: every expert sees every token.
    router_normalize: the chosen experts' weights are divided by their sum.
    shared_hidden: width of an expert that every token goes through, weighed by a gate (Qwen2-MoE); 0: none.
    dropout: fraction of the embeddings and of what each layer adds that is dropped in training, in [0, 1).
    init_std: standard deviation of fresh weights; those that write to the stream get init_std / sqrt(2 L).
    dtype: of the computation. Norms, attention weights and logits are float32 at least.
    param_dtype: of fresh and loaded parameters.
    remat: recompute each block in the backward pass: memory of one block's activations and L streams.
    unroll: how many layers are compiled as one body of the scan.

  Raises:
    ValueError: sizes that do not fit together, an unknown switch.
  """

  vocab_size: int
  dim: int
  depth: int
  heads: int
  family: str = "llama"
  kv_heads: int = 0
  head_dim: int = 0
  hidden: int = 0
  context: int = 1024
  norm: str = "rms"
  norm_eps: float = 1e-6
  norm_offset: bool = False
  post_norms: bool = False
  qk_norm: bool = False
  positions: str = "rope"
  rope_theta: float = 10000.0
  rope_scaling: RopeScaling = RopeScaling()
  rope_theta_local: float = 0.0
  windows: tuple[int, ...] = ()
  gated: bool = True
  activation: str = "silu"
  qkv_bias: bool = False
  out_bias: bool = False
  mlp_bias: bool = False
  tied: bool = False
  embed_scale: float = 1.0
  query_scale: float = 0.0
  attn_softcap: float = 0.0
  logit_softcap: float = 0.0
  experts: int = 0
  experts_per_token: int = 2
  grouped: bool = True
  router_normalize: bool = True
  shared_hidden: int = 0
  dropout: float = 0.0
  init_std: float = 0.02
  dtype: str = "float32"
  param_dtype: str = "float32"
  remat: bool = False
  unroll: int = 1

  def __post_init__(self):
    for name in ("vocab_size", "dim", "depth", "heads", "context", "unroll"):
      check.positive(name, getattr(self, name))
    if not self.head_dim and self.dim % self.heads:
      raise ValueError(f"heads must divide dim, got {self.heads} heads and dim {self.dim}")
    object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
    object.__setattr__(self, "head_dim", self.head_dim or self.dim // self.heads)
    object.__setattr__(self, "hidden", self.hidden or 4 * self.dim)
    object.__setattr__(self, "query_scale", self.query_scale or self.head_dim**-0.5)
    object.__setattr__(self, "windows", tuple(self.windows))
    if self.heads % self.kv_heads:
      raise ValueError(f"kv_heads must divide heads, got {self.kv_heads} of {self.heads}")
    check.one_of("norm", self.norm, ("rms", "layer"))
    check.one_of("positions", self.positions, ("rope", "learned"))
    check.one_of("activation", self.activation, ACTIVATIONS)
    check.one_of("rope_scaling.kind", self.rope_scaling.kind, ("default", "linear", "llama3"))
    check.fraction("dropout", self.dropout, zero=True, one=False)
    if self.positions == "rope" and self.head_dim % 2:
      raise ValueError(f"head_dim must be even for rotary positions, got {self.head_dim}")
    if self.windows and len(self.windows) != self.depth:
      raise ValueError(f"windows must hold one number a layer, got {len(self.windows)} for {self.depth} layers")
    if self.experts and not 1 <= self.experts_per_token <= self.experts:
      raise ValueError(f"experts_per_token must be from 1 to {self.experts}, got {self.experts_per_token}")


FAMILIES: dict[str, dict[str, Any]] = {
  "gpt2": dict(
    norm="layer", norm_eps=1e-5, positions="learned", gated=False, activation="gelu_tanh", qkv_bias=True,
    out_bias=True, mlp_bias=True, tied=True,
  ),
  "llama": {},
  "qwen2": dict(qkv_bias=True),
  "qwen3": dict(qk_norm=True),
  "gemma": dict(norm_offset=True, activation="gelu_tanh", tied=True),
  "gemma2": dict(
    norm_offset=True, activation="gelu_tanh", tied=True, post_norms=True, attn_softcap=50.0, logit_softcap=30.0
  ),
  "gemma3_text": dict(
    norm_offset=True, activation="gelu_tanh", tied=True, post_norms=True, qk_norm=True, rope_theta=1e6,
    rope_theta_local=1e4,
  ),
  "mixtral": dict(experts=8, rope_theta=1e6, norm_eps=1e-5),
  "qwen2_moe": dict(experts=60, experts_per_token=4, router_normalize=False, qkv_bias=True),
  "qwen3_moe": dict(experts=128, experts_per_token=8, qk_norm=True),
}  # fmt: skip
"""The switches of each family; sizes are the caller's."""

SIZES: dict[str, tuple[str, dict[str, Any]]] = {
  "gpt2": ("gpt2", dict(vocab_size=50257, dim=768, depth=12, heads=12)),
  "llama3-8b": (
    "llama",
    dict(
      vocab_size=128256, dim=4096, depth=32, heads=32, kv_heads=8, hidden=14336, context=8192, rope_theta=5e5,
      norm_eps=1e-5,
    ),
  ),
  "llama3.2-1b": (
    "llama",
    dict(
      vocab_size=128256, dim=2048, depth=16, heads=32, kv_heads=8, hidden=8192, context=131072, rope_theta=5e5,
      norm_eps=1e-5, rope_scaling=RopeScaling("llama3", 32.0), tied=True,
    ),
  ),
  "qwen2.5-0.5b": (
    "qwen2",
    dict(
      vocab_size=151936, dim=896, depth=24, heads=14, kv_heads=2, hidden=4864, context=32768, rope_theta=1e6, tied=True
    ),
  ),
}  # fmt: skip
"""Published models by name: family and sizes."""


def family(name: str, **sizes: Any) -> TransformerConfig:
  """The configuration of a family, or of a published model, with `sizes` on top.

  Args:
    name: "gpt2", "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mixtral", "qwen2_moe", "qwen3_moe", or
      with all its sizes "llama3-8b", "llama3.2-1b", "qwen2.5-0.5b".
    sizes: fields of `TransformerConfig`. Gemma's embedding scale sqrt(dim) is set from `dim`.

  Raises:
    ValueError: an unknown name, or what `TransformerConfig` refuses.

  Example:
    >>> family("gemma", vocab_size=256, dim=64, depth=2, heads=4).embed_scale
    8.0
    >>> family("llama3-8b", depth=2).hidden
    14336
  """
  check.one_of("name", name, (*FAMILIES, *SIZES))
  kind, own = (name, {}) if name in FAMILIES and "vocab_size" in sizes else SIZES.get(name, (name, {}))
  full = {"family": kind, **FAMILIES[kind], **own, **sizes}
  if kind.startswith("gemma") and "dim" in full:
    full.setdefault("embed_scale", full["dim"] ** 0.5)
  return TransformerConfig(**full)
