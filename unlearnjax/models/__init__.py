"""Models as pure functions: `fn(params, {"x": x}, state=..., train=...)` over plain nested dicts.

`make(name, ...)` gives a registered architecture; `from_nnx`, `from_linen` and `from_fn` adapt your own. Every model
can be read and rewritten at its named sites (`capture=`, `inject=`) without having been written for it. `transformer`
and `load_hf` give language models, `generate` continues their prompts.
"""

import importlib

_HOME = {
  "MLP": "vision",
  "ByteTokenizer": "tokens",
  "ConvNet": "vision",
  "OnFeatures": "random_features",
  "RegressionMLP": "vision",
  "ResNet": "vision",
  "Transformer": "decoder.model",
  "TransformerConfig": "decoder.config",
  "ViT": "vit",
  "WordTokenizer": "tokens",
  "conv2d": "convolution",
  "default_for": "registry",
  "encode": "random_features",
  "ensemble": "ensembles",
  "first_layers": "decoder.truncate",
  "first_layers_of": "decoder.truncate",
  "from_fn": "fn_adapter",
  "from_linen": "linen_adapter",
  "from_nnx": "nnx_adapter",
  "generate": "generation",
  "last_k_modules": "paths",
  "leaf_paths": "paths",
  "load_hf": "hf.load",
  "load_tokenizer": "tokens",
  "make": "registry",
  "module_order": "paths",
  "multi_head": "heads",
  "names": "registry",
  "pad_tokens": "tokens",
  "nearest_mean": "heads",
  "random_encoder": "random_features",
  "replace_where": "paths",
  "seen_classes": "heads",
  "save_hf": "hf.save",
  "select": "paths",
  "train_bpe": "tokens",
  "train_words": "tokens",
  "transformer": "decoder.model",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
  if name in _HOME:
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
