"""`config.json` of a Hugging Face directory, to and from a `TransformerConfig`."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from unlearnjax.models.decoder.config import FAMILIES, RopeScaling, TransformerConfig, family

CLASSES = {
  "gpt2": "GPT2LMHeadModel",
  "llama": "LlamaForCausalLM",
  "qwen2": "Qwen2ForCausalLM",
  "qwen3": "Qwen3ForCausalLM",
  "gemma": "GemmaForCausalLM",
  "gemma2": "Gemma2ForCausalLM",
  "gemma3_text": "Gemma3ForCausalLM",
  "mixtral": "MixtralForCausalLM",
  "qwen2_moe": "Qwen2MoeForCausalLM",
  "qwen3_moe": "Qwen3MoeForCausalLM",
}
ACTIVATIONS = {
  "silu": "silu",
  "swish": "silu",
  "gelu": "gelu",
  "gelu_new": "gelu_tanh",
  "gelu_pytorch_tanh": "gelu_tanh",
  "relu": "relu",
}
REFUSED = {
  "scale_attn_by_inverse_layer_idx": False,
  "scale_attn_weights": True,
  "add_cross_attention": False,
  "decoder_sparse_step": 1,
  "partial_rotary_factor": 1.0,
}
"""Keys that change the computation in a way that is not implemented, with the one value that is."""


def read_config(directory: str | pathlib.Path) -> dict[str, Any]:
  """`config.json` of a directory.

  Raises:
    FileNotFoundError: no such directory or file.
    ValueError: the file is no JSON object.
  """
  path = pathlib.Path(directory) / "config.json"
  if not path.is_file():
    raise FileNotFoundError(f"directory must hold a Hugging Face checkpoint, but there is no {path}")
  return read_json(path)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object; a damaged file is a ValueError that names it."""
  try:
    return dict(json.loads(path.read_text()))
  except (ValueError, TypeError) as error:
    raise ValueError(f"{path} is damaged: {error}") from None


def from_hf(found: Mapping[str, Any]) -> TransformerConfig:
  """The `TransformerConfig` that computes what a `config.json` describes.

  Dropout is left off: `load_hf(directory, dropout=0.1)` turns it on.

  Raises:
    ValueError: an architecture, rope type or option that is not implemented, or a size that is not written.

  Example:
    >>> from_hf({"model_type": "gpt2", "vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}).context
    1024
  """
  kind = found.get("model_type")
  if kind not in FAMILIES:
    raise ValueError(f"model_type must be one of {', '.join(FAMILIES)}; config.json has {kind!r}")
  for key, value in REFUSED.items():
    if found.get(key, value) not in (value, None):
      raise ValueError(f"config.json has {key} = {found[key]!r}, only {value!r} is implemented")
  for key in ("mlp_only_layers", "use_bidirectional_attention", "quantization_config"):
    if found.get(key):
      raise ValueError(f"config.json has {key} = {found[key]!r}, which is not implemented")
  try:
    return _gpt2(found) if kind == "gpt2" else _others(found, kind)
  except KeyError as error:
    raise ValueError(f"config.json of a {kind!r} must have {error}, which is missing") from None


def _others(found: Mapping[str, Any], kind: str) -> TransformerConfig:
  depth = found["num_hidden_layers"]
  windows = _windows(found, kind, depth)
  theta, scaling, local = _rope(found, kind)
  sizes: dict[str, Any] = dict(
    vocab_size=found["vocab_size"],
    dim=found["hidden_size"],
    depth=depth,
    heads=found["num_attention_heads"],
    kv_heads=found.get("num_key_value_heads") or 0,
    head_dim=found.get("head_dim") or {"gemma": 256, "gemma2": 256, "gemma3_text": 256, "qwen3": 128}.get(kind, 0),
    hidden=found["intermediate_size"],
    context=found.get("max_position_embeddings", 2048),
    norm_eps=found.get("rms_norm_eps", FAMILIES[kind].get("norm_eps", 1e-6)),
    tied=found.get("tie_word_embeddings", FAMILIES[kind].get("tied", False)),
    windows=windows if any(windows) else (),
    rope_theta=theta,
    rope_scaling=scaling,
    rope_theta_local=local,
    init_std=found.get("initializer_range", 0.02),
    activation=_activation(found, kind),
  )
  if kind in ("llama", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text"):
    sizes |= dict(qkv_bias=found.get("attention_bias", False), out_bias=found.get("attention_bias", False))
  if kind == "llama":
    sizes |= dict(mlp_bias=found.get("mlp_bias", False))
  if kind == "qwen2_moe":
    sizes |= dict(
      qkv_bias=found.get("qkv_bias", True), shared_hidden=found.get("shared_expert_intermediate_size", 5632)
    )
  if FAMILIES[kind].get("experts"):
    experts = found.get("num_local_experts", found.get("num_experts", FAMILIES[kind]["experts"]))
    sizes |= dict(experts=experts, experts_per_token=found["num_experts_per_tok"])
    if kind != "mixtral":
      sizes |= dict(hidden=found["moe_intermediate_size"], router_normalize=found.get("norm_topk_prob", False))
  if kind in ("gemma2", "gemma3_text"):
    cap = lambda key, default: found.get(key, default) or 0.0
    sizes |= dict(
      query_scale=found.get("query_pre_attn_scalar", 256) ** -0.5,
      attn_softcap=cap("attn_logit_softcapping", FAMILIES[kind].get("attn_softcap", 0)),
      logit_softcap=cap("final_logit_softcapping", FAMILIES[kind].get("logit_softcap", 0)),
    )
  return family(kind, **sizes)


def to_hf(c: TransformerConfig) -> dict[str, Any]:
  """What `config.json` says of a configuration; `from_hf` of it computes the same.

  Raises:
    ValueError: switches that the family, as Hugging Face defines it, does not have.

  Example:
    >>> c = family("llama", vocab_size=64, dim=32, depth=2, heads=4)
    >>> from_hf(to_hf(c)) == c
    True
  """
  kind = c.family
  common = dict(
    architectures=[CLASSES[kind]],
    model_type=kind,
    vocab_size=c.vocab_size,
    initializer_range=c.init_std,
    tie_word_embeddings=c.tied,
    dtype=c.param_dtype,
    torch_dtype=c.param_dtype,
  )
  act = {"gelu_tanh": "gelu_pytorch_tanh"}.get(c.activation, c.activation)
  if kind == "gpt2":
    return common | dict(
      n_embd=c.dim, n_layer=c.depth, n_head=c.heads, n_inner=c.hidden, n_positions=c.context,
      layer_norm_epsilon=c.norm_eps, activation_function={"gelu_pytorch_tanh": "gelu_new"}.get(act, act),
    )  # fmt: skip
  scaling = _rope_to_hf(c.rope_scaling)
  made = common | dict(
    hidden_size=c.dim, num_hidden_layers=c.depth, num_attention_heads=c.heads, num_key_value_heads=c.kv_heads,
    head_dim=c.head_dim, max_position_embeddings=c.context, rms_norm_eps=c.norm_eps, rope_theta=c.rope_theta,
    rope_scaling=scaling, intermediate_size=c.hidden,
    rope_parameters={"rope_type": "default", **(scaling or {}), "rope_theta": c.rope_theta},
    hidden_act=act, attention_bias=c.out_bias,
  )  # fmt: skip
  if any(c.windows) or kind in ("gemma2", "gemma3_text"):
    made |= dict(
      sliding_window=max(c.windows, default=0) or 4096,
      use_sliding_window=True,
      max_window_layers=0,
      layer_types=["sliding_attention" if w else "full_attention" for w in c.windows or (0,) * c.depth],
    )
  if kind == "llama":
    made |= dict(mlp_bias=c.mlp_bias)
  if kind.startswith("gemma"):
    made |= dict(hidden_activation=act)
  if kind in ("gemma2", "gemma3_text"):
    made |= dict(
      query_pre_attn_scalar=round(c.query_scale**-2),
      attn_logit_softcapping=c.attn_softcap or None,
      final_logit_softcapping=c.logit_softcap or None,
    )
  if kind == "gemma3_text":
    local = {"rope_type": "default", "rope_theta": c.rope_theta_local}
    made |= dict(
      rope_parameters={"full_attention": made["rope_parameters"], "sliding_attention": local},
      rope_local_base_freq=c.rope_theta_local,
    )
  if c.experts:
    made |= dict(num_local_experts=c.experts, num_experts=c.experts, num_experts_per_tok=c.experts_per_token)
    if kind != "mixtral":
      made |= dict(moe_intermediate_size=c.hidden, norm_topk_prob=c.router_normalize, qkv_bias=c.qkv_bias)
    if kind == "qwen2_moe":
      made |= dict(shared_expert_intermediate_size=c.shared_hidden)
  same = from_hf(made)
  differ = [f for f in _COMPUTED if getattr(same, f) != getattr(c, f)]
  if not math.isclose(same.query_scale, c.query_scale, rel_tol=1e-6):
    differ.append("query_scale")
  if differ:
    raise ValueError(f"a {kind!r} checkpoint cannot express {', '.join(f'{f}={getattr(c, f)!r}' for f in differ)}")
  return made


_COMPUTED = tuple(
  name
  for name in TransformerConfig.__dataclass_fields__
  if name not in ("dropout", "dtype", "param_dtype", "remat", "unroll", "grouped", "query_scale")
)


def _gpt2(found: Mapping[str, Any]) -> TransformerConfig:
  return family(
    "gpt2", vocab_size=found["vocab_size"], dim=found["n_embd"], depth=found["n_layer"], heads=found["n_head"],
    hidden=found.get("n_inner") or 0, context=found.get("n_positions", 1024),
    tied=found.get("tie_word_embeddings", True), norm_eps=found.get("layer_norm_epsilon", 1e-5),
    init_std=found.get("initializer_range", 0.02),
    activation=_activation(found, "gpt2"),
  )  # fmt: skip


def _activation(found: Mapping[str, Any], kind: str) -> str:
  if kind == "gemma":  # old files say "gelu", which the models were not trained with
    name = found.get("hidden_activation") or "gelu_pytorch_tanh"
  else:
    default = {"gpt2": "gelu_new", "gemma2": "gelu_pytorch_tanh", "gemma3_text": "gelu_pytorch_tanh"}.get(kind, "silu")
    keys = ("activation_function", "hidden_activation", "hidden_act")
    name = next((found[key] for key in keys if found.get(key)), default)
  if name not in ACTIVATIONS:
    raise ValueError(f"the activation must be one of {', '.join(ACTIVATIONS)}; config.json has {name!r}")
  return ACTIVATIONS[name]


def _windows(found: Mapping[str, Any], kind: str, depth: int) -> tuple[int, ...]:
  """How far each layer sees; 0 for everything. Where `layer_types` is not written, the rule of the family decides."""
  window = found.get("sliding_window", 4096 if kind in ("gemma2", "gemma3_text") else 0) or 0
  if kind.startswith("qwen") and not found.get("use_sliding_window", False):
    window = 0
  if kind in ("llama", "gemma") or not window:
    return (0,) * depth
  if found.get("layer_types"):
    return tuple(window if t == "sliding_attention" else 0 for t in found["layer_types"])
  first = found.get("max_window_layers", 28)
  every = found.get("sliding_window_pattern", found.get("_sliding_window_pattern", 6))
  slides = {
    "gemma2": lambda i: (i + 1) % 2,
    "gemma3_text": lambda i: (i + 1) % every,
    "qwen2": lambda i: i >= first,
    "qwen3": lambda i: i >= first,
    "qwen2_moe": lambda i: (i + 1) % 2 and i < first,
  }.get(kind, lambda i: True)
  return tuple(window if slides(i) else 0 for i in range(depth))


def _rope(found: Mapping[str, Any], kind: str) -> tuple[float, RopeScaling, float]:
  """(theta, scaling, theta of layers with a window); newer files write `rope_parameters`, older ones apart."""
  default = FAMILIES[kind].get("rope_theta", 1e4)
  new = found.get("rope_parameters") or {}
  local = 0.0
  if kind == "gemma3_text":
    local = new.get("sliding_attention", {}).get("rope_theta", found.get("rope_local_base_freq", 1e4))
    new = new.get("full_attention", new)
  how = {**(found.get("rope_scaling") or {}), **new}
  rope_type = how.get("rope_type", how.get("type", "default"))
  theta = how.get("rope_theta", found.get("rope_theta", default))
  if rope_type == "default":
    return theta, RopeScaling(), local
  if rope_type == "linear":
    return theta, RopeScaling("linear", how["factor"]), local
  if rope_type == "llama3":
    low, high, original = (how[k] for k in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"))
    return theta, RopeScaling("llama3", how["factor"], low, high, original), local
  raise ValueError(f"rope_type must be one of default, linear, llama3; config.json has {rope_type!r}")


def _rope_to_hf(s: RopeScaling) -> dict[str, Any] | None:
  if s.kind == "default":
    return None
  made = {"rope_type": s.kind, "factor": s.factor}
  if s.kind == "llama3":
    made |= dict(low_freq_factor=s.low, high_freq_factor=s.high, original_max_position_embeddings=s.original)
  return made
