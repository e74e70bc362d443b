"""Which tensors of a Hugging Face checkpoint hold which parameters."""

from __future__ import annotations

import re
from typing import NamedTuple

from unlearnjax.models.decoder.config import TransformerConfig
from unlearnjax.models.decoder.spec import Leaf, leaves

IGNORED = re.compile(r".*(\.attn\.bias|\.attn\.masked_bias|rotary_emb\.inv_freq)")
"""Buffers that old checkpoints carry; the model computes them."""


class Source(NamedTuple):
  """One parameter inside a tensor: `leaf[path][index]`, and the columns it takes of the (transposed) tensor."""

  path: str
  index: tuple[int, ...]
  start: int
  stop: int


class Tensor(NamedTuple):
  """A tensor of a checkpoint: the sources side by side along the last axis, transposed where `flip`."""

  shape: tuple[int, ...]
  flip: bool
  sources: tuple[Source, ...]


def tensors(c: TransformerConfig) -> dict[str, Tensor]:
  """Tensor name -> what is in it, in the order of the forward pass.

  Linear maps of Hugging Face are [out, in], ours and GPT-2's [in, out].

  Example:
    >>> from unlearnjax.models.decoder.config import family
    >>> found = tensors(family("gpt2", vocab_size=64, dim=32, depth=1, heads=4))
    >>> found["transformer.h.0.attn.c_attn.weight"].shape, len(found["transformer.h.0.attn.c_attn.weight"].sources)
    ((32, 96), 3)
  """
  table = _GPT2 if c.family == "gpt2" else {**_LLAMA, **_OWN.get(c.family, {})}
  ours = leaves(c)
  grouped: dict[str, list[tuple[str, tuple[int, ...], Leaf]]] = {}
  for path, leaf in ours.items():
    owner, _, kind = path.rpartition("/")
    stacked = 1 + ("/experts/" in path) if path.startswith("blocks/") else 0
    name = table[owner] + {"kernel": ".weight", "table": ".weight", "scale": ".weight", "bias": ".bias"}[kind]
    for index in _indices(leaf.shape[:stacked]):
      own = leaf._replace(shape=leaf.shape[stacked:])
      full = name.format(**dict(zip(("layer", "expert"), index)))
      grouped.setdefault(full, []).append((path, index, own))
  found = {}
  for name, parts in grouped.items():
    flip = c.family != "gpt2" and parts[0][0].endswith("/kernel") or name == "lm_head.weight"
    at, sources = 0, []
    for path, index, leaf in parts:
      sources.append(Source(path, index, at, at + leaf.shape[-1]))
      at += leaf.shape[-1]
    shape = (*parts[0][2].shape[:-1], at)
    found[name] = Tensor(shape[::-1] if flip else shape, flip, tuple(sources))
  return found


def _indices(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
  found: list[tuple[int, ...]] = [()]
  for size in sizes:
    found = [(*index, i) for index in found for i in range(size)]
  return found


_GPT2 = {
  "embed": "transformer.wte",
  "position": "transformer.wpe",
  "norm": "transformer.ln_f",
  "head": "lm_head",
  "blocks/norm1": "transformer.h.{layer}.ln_1",
  "blocks/norm2": "transformer.h.{layer}.ln_2",
  "blocks/attn/q": "transformer.h.{layer}.attn.c_attn",
  "blocks/attn/k": "transformer.h.{layer}.attn.c_attn",
  "blocks/attn/v": "transformer.h.{layer}.attn.c_attn",
  "blocks/attn/out": "transformer.h.{layer}.attn.c_proj",
  "blocks/mlp/up": "transformer.h.{layer}.mlp.c_fc",
  "blocks/mlp/down": "transformer.h.{layer}.mlp.c_proj",
}
_LAYER = "model.layers.{layer}."
_LLAMA = {
  "embed": "model.embed_tokens",
  "norm": "model.norm",
  "head": "lm_head",
  "blocks/norm1": _LAYER + "input_layernorm",
  "blocks/norm2": _LAYER + "post_attention_layernorm",
  "blocks/attn/q": _LAYER + "self_attn.q_proj",
  "blocks/attn/k": _LAYER + "self_attn.k_proj",
  "blocks/attn/v": _LAYER + "self_attn.v_proj",
  "blocks/attn/out": _LAYER + "self_attn.o_proj",
  "blocks/attn/q_norm": _LAYER + "self_attn.q_norm",
  "blocks/attn/k_norm": _LAYER + "self_attn.k_norm",
  "blocks/mlp/gate": _LAYER + "mlp.gate_proj",
  "blocks/mlp/up": _LAYER + "mlp.up_proj",
  "blocks/mlp/down": _LAYER + "mlp.down_proj",
}
_FOUR_NORMS = {
  "blocks/norm1_post": _LAYER + "post_attention_layernorm",
  "blocks/norm2": _LAYER + "pre_feedforward_layernorm",
  "blocks/norm2_post": _LAYER + "post_feedforward_layernorm",
}
_QWEN_EXPERTS = {
  "blocks/mlp/router": _LAYER + "mlp.gate",
  "blocks/mlp/shared_gate": _LAYER + "mlp.shared_expert_gate",
  **{f"blocks/mlp/experts/{n}": f"{_LAYER}mlp.experts.{{expert}}.{n}_proj" for n in ("gate", "up", "down")},
  **{f"blocks/mlp/shared/{n}": f"{_LAYER}mlp.shared_expert.{n}_proj" for n in ("gate", "up", "down")},
}
_MIXTRAL = {
  "blocks/mlp/router": _LAYER + "block_sparse_moe.gate",
  "blocks/mlp/experts/gate": _LAYER + "block_sparse_moe.experts.{expert}.w1",
  "blocks/mlp/experts/down": _LAYER + "block_sparse_moe.experts.{expert}.w2",
  "blocks/mlp/experts/up": _LAYER + "block_sparse_moe.experts.{expert}.w3",
}
_OWN = {
  "gemma2": _FOUR_NORMS,
  "gemma3_text": _FOUR_NORMS,
  "mixtral": _MIXTRAL,
  "qwen2_moe": _QWEN_EXPERTS,
  "qwen3_moe": _QWEN_EXPERTS,
}
