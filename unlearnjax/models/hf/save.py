"""Writing a `Model` as a Hugging Face directory."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from unlearnjax.core.types import Model
from unlearnjax.models import calling
from unlearnjax.models.decoder.model import Transformer
from unlearnjax.models.decoder.spec import leaves
from unlearnjax.models.hf.config import read_config, to_hf
from unlearnjax.models.hf.load import safetensors
from unlearnjax.models.hf.names import Tensor, tensors

COPIED = (
  "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
  "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
)  # fmt: skip
"""Files of the tokenizer and of generation, which weights do not change."""


def save_hf(
  model: Model,
  directory: str | pathlib.Path,
  *,
  like: str | pathlib.Path | None = None,
  tokenizer: Any = None,
  shard_bytes: int = 5_000_000_000,
  overwrite: bool = False,
) -> pathlib.Path:
  """Writes `config.json` and safetensors that Hugging Face's own loaders read, and `load_hf`.

  Everything is written to a directory beside it, which is renamed once it is complete.

  Args:
    model: whose `fn` is a `Transformer`. Merge a LoRA first.
    directory: to write.
    like: a directory whose tokenizer files and further keys of `config.json` (special tokens) are kept.
    tokenizer: written too, by its `save(directory)`.
    shard_bytes: size of a file; more than one get an index.
    overwrite: replace what is there.

  Returns:
    the directory.

  Raises:
    FileExistsError: it exists, and `overwrite` is not set.
    TypeError: a model that is not a `Transformer`.
    ValueError: parameters of other names or shapes, or a configuration that its family cannot express.
  """
  if not isinstance(model.fn, Transformer):
    raise TypeError(f"save_hf needs a model whose fn is a Transformer, got {type(model.fn).__name__}")
  directory = pathlib.Path(directory)
  if directory.exists() and not overwrite:
    raise FileExistsError(f"{directory} exists; pass overwrite=True to replace it")
  flat = calling.named(model.params, "params", leaves(model.fn.config))
  dtype = jnp.dtype(next(iter(flat.values())).dtype)
  config = {**({} if like is None else read_config(like)), **to_hf(model.fn.config)}
  config |= {"dtype": dtype.name, "torch_dtype": dtype.name}
  directory.parent.mkdir(parents=True, exist_ok=True)
  made = pathlib.Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
  try:
    _write_weights(made, tensors(model.fn.config), flat, shard_bytes)
    for name in COPIED if like is not None else ():
      if (pathlib.Path(like) / name).is_file():
        shutil.copy(pathlib.Path(like) / name, made / name)
    if tokenizer is not None:
      tokenizer.save(made)
    (made / "config.json").write_text(json.dumps(config, indent=2))
    made.chmod(0o755)
    if directory.exists():
      old = pathlib.Path(tempfile.mkdtemp(prefix=f".{directory.name}.old", dir=directory.parent))
      os.rename(directory, old / directory.name)
      os.rename(made, directory)
      shutil.rmtree(old)
    else:
      os.rename(made, directory)
  except BaseException:
    shutil.rmtree(made, ignore_errors=True)
    raise
  return directory


def _write_weights(to: pathlib.Path, wanted: dict[str, Tensor], flat: dict[str, Any], shard_bytes: int) -> None:
  """The tensors in as many files as they need; only one file's tensors are on the host at a time."""
  size = lambda tensor: int(np.prod(tensor.shape)) * flat[tensor.sources[0].path].dtype.itemsize
  groups = list(_groups({name: size(tensor) for name, tensor in wanted.items()}, shard_bytes))
  where = {}
  for number, names in enumerate(groups, 1):
    file = "model.safetensors" if len(groups) == 1 else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
    arrays = {name: _tensor(wanted[name], flat) for name in names}
    safetensors().numpy.save_file(arrays, to / file, metadata={"format": "pt"})
    where |= dict.fromkeys(names, file)
  if len(groups) > 1:
    total = sum(map(size, wanted.values()))
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (to / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _groups(sizes: dict[str, int], limit: int) -> Iterator[list[str]]:
  """Names in order, in groups of at most `limit` bytes (or one tensor)."""
  group, used = [], 0
  for name, size in sizes.items():
    if group and used + size > limit:
      yield group
      group, used = [], 0
    group.append(name)
    used += size
  yield group


def _tensor(tensor: Tensor, flat: dict[str, Any]) -> np.ndarray:
  parts = [np.asarray(flat[s.path][s.index]) for s in tensor.sources]
  whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
  return np.ascontiguousarray(whole.T if tensor.flip else whole)
