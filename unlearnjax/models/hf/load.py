"""Reading a Hugging Face directory into a `Model`, one tensor at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from unlearnjax.core.types import Model
from unlearnjax.models import calling
from unlearnjax.models.decoder.config import TransformerConfig
from unlearnjax.models.decoder.model import Transformer
from unlearnjax.models.decoder.spec import leaves
from unlearnjax.models.hf import config as configs
from unlearnjax.models.hf.names import IGNORED, Source, Tensor, tensors
from unlearnjax.sharding import FSDP, Rules, partition

LISTED = 6


def load_hf(
  directory: str | pathlib.Path,
  *,
  param_dtype: str = "float32",
  dtype: str = "float32",
  mesh: Mesh | None = None,
  rules: Rules = FSDP,
  **changes: Any,
) -> Model:
  """A language model from `config.json` and `*.safetensors`.

  Every device gets its part of every parameter straight from the file: the host holds one part at a time.

  Args:
    directory: of one of the families GPT-2, Llama 2/3, Qwen 2/3, Gemma 1/2/3 (text), Mixtral, Qwen 2/3 MoE.
    param_dtype: of the parameters in memory.
    dtype: of the computation.
    mesh: devices to lay the parameters out on; one device without it.
    rules: logical axes to mesh axes.
    changes: further fields of `TransformerConfig`, such as remat=True or dropout=0.1.

  Returns:
    a Model whose `fn` is a `Transformer`; `fn.config` says what was found.

  Raises:
    FileNotFoundError: no `config.json` or no safetensors.
    ValueError: an unknown architecture or rope type; tensors that are missing, unknown or of another shape; a damaged
      file.
    ImportError: safetensors is not installed.
  """
  directory = pathlib.Path(directory)
  config = configs.from_hf(configs.read_config(directory))
  config = dataclasses.replace(config, param_dtype=param_dtype, dtype=dtype, **changes)
  fn = Transformer(config) if mesh is None else Transformer(config).on(mesh, rules)
  with _Files(directory) as files:
    wanted = _match(config, files)
    where: dict[str, dict[tuple[int, ...], tuple[str, Tensor, Source]]] = {}
    for name, tensor in wanted.items():
      for source in tensor.sources:
        where.setdefault(source.path, {})[source.index] = (name, tensor, source)
    params = {path: _array(files, where[path], leaf, param_dtype, mesh, rules) for path, leaf in leaves(config).items()}
  return Model(calling.unnamed(params), fn=fn)


class _Files:
  """The safetensors files of a directory, opened when they are first read."""

  def __init__(self, directory: pathlib.Path):
    self.directory = directory
    self.stack = contextlib.ExitStack()
    self.open: dict[str, Any] = {}
    index = directory / "model.safetensors.index.json"
    if index.is_file():
      found = configs.read_json(index)
      if not isinstance(found.get("weight_map"), dict):
        raise ValueError(f"{index} must have 'weight_map', the file of each tensor")
      self.where = found["weight_map"]
      return
    files = sorted(directory.glob("*.safetensors"))
    if not files:
      raise FileNotFoundError(f"directory must hold *.safetensors, but {directory} has none")
    self.where = {name: file.name for file in files for name in self._file(file.name).keys()}

  def __enter__(self) -> _Files:
    return self

  def __exit__(self, *error) -> None:
    self.stack.close()

  def __getitem__(self, name: str):
    """A tensor that is read where it is indexed."""
    return self._file(self.where[name]).get_slice(name)

  def _file(self, name: str):
    if name not in self.open:
      path = self.directory / name
      if not path.is_file():
        raise FileNotFoundError(f"model.safetensors.index.json names {name}, which is not in {self.directory}")
      package = safetensors()
      try:
        self.open[name] = self.stack.enter_context(package.safe_open(str(path), framework="np"))
      except package.SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from None
    return self.open[name]


def _match(config: TransformerConfig, files: _Files) -> dict[str, Tensor]:
  """The tensors of the model under the names of the files, all there, none left over, of the right shapes."""
  wanted = tensors(config)
  if config.family == "gpt2" and not any(name.startswith("transformer.") for name in files.where):
    wanted = {name.removeprefix("transformer."): tensor for name, tensor in wanted.items()}
  extra = {name for name in files.where if name not in wanted and not IGNORED.fullmatch(name)}
  if config.tied:
    extra.discard("lm_head.weight")
  missing = [name for name in wanted if name not in files.where]
  if missing or extra:
    raise ValueError(
      f"{files.directory} does not hold the tensors of a {config.family!r} with {config.depth} layers: "
      f"{len(missing)} missing {missing[:LISTED]}, {len(extra)} unknown {sorted(extra)[:LISTED]}"
    )
  for name, tensor in wanted.items():
    shape = tuple(files[name].get_shape())
    if shape != tensor.shape:
      raise ValueError(f"tensor {name!r} has shape {shape}, config.json asks for {tensor.shape}")
  return wanted


def _array(files: _Files, where, leaf, dtype: str, mesh: Mesh | None, rules: Rules) -> jax.Array:
  """One parameter; each device's part is read by itself."""
  stacked = len(next(iter(where)))

  def read(index: tuple[slice, ...]) -> np.ndarray:
    ranges = [range(*s.indices(n)) for s, n in zip(index, leaf.shape)]
    out = np.empty([len(r) for r in ranges], jnp.dtype(dtype))
    for at in np.ndindex(*out.shape[:stacked]):
      name, tensor, source = where[tuple(r[i] for r, i in zip(ranges, at))]
      own = [slice(r.start, r.stop) for r in ranges[stacked:]]
      own[-1] = slice(own[-1].start + source.start, own[-1].stop + source.start)
      part = files[name][tuple(own[::-1])].T if tensor.flip else files[name][tuple(own)]
      out[at] = part
    return out

  if mesh is None:
    return jnp.asarray(read(tuple(slice(None) for _ in leaf.shape)))
  spec = jax.sharding.NamedSharding(mesh, partition(leaf.axes, leaf.shape, mesh, rules))
  return jax.make_array_from_callback(leaf.shape, spec, read)


def safetensors():
  """The package, or an error that says how to get it."""
  try:
    import safetensors
    import safetensors.numpy
  except ImportError as e:
    raise ImportError("Hugging Face checkpoints need safetensors: pip install 'unlearnjax[lm]'") from e
  return safetensors
