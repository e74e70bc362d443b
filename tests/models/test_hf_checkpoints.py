"""Directories in the format of Hugging Face: what is wrong with one is said by name, and none is left half-written."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from toy_language import toy_lm

from unlearnjax.models import ByteTokenizer, load_hf, load_tokenizer, make, save_hf, transformer
from unlearnjax.models.decoder.config import RopeScaling
from unlearnjax.models.hf.config import from_hf, to_hf

pytest.importorskip("safetensors", reason="checkpoints need the extra 'lm'")
LLAMA = dict(vocab_size=64, dim=16, depth=2, heads=4, kv_heads=2, hidden=24, context=32)


@pytest.fixture(scope="module")
def model():
  return toy_lm("llama", **LLAMA)


@pytest.fixture
def saved(model, tmp_path):
  return save_hf(model, tmp_path / "lm", tokenizer=ByteTokenizer())


def edit(directory, **changes):
  path = directory / "config.json"
  path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors(directory):
  from safetensors.numpy import load_file

  return load_file(directory / "model.safetensors")


def write(directory, arrays):
  from safetensors.numpy import save_file

  save_file(arrays, directory / "model.safetensors")


def test_half_precision_is_kept_by_the_file(model, tmp_path):
  half = model.replace(params=jax.tree.map(lambda x: x.astype("bfloat16"), model.params))
  directory = save_hf(half, tmp_path / "half")
  assert json.loads((directory / "config.json").read_text())["dtype"] == "bfloat16"
  again = load_hf(directory, param_dtype="bfloat16", dtype="bfloat16", dropout=0.1)
  jax.tree.map(np.testing.assert_array_equal, again.params, half.params)
  assert again.fn.config.dropout == 0.1 and again.fn.config.dtype == "bfloat16"
  assert load_hf(directory).params["norm"]["scale"].dtype == np.float32


def test_gpt2_without_prefix_and_with_old_buffers(tmp_path):
  model = toy_lm("gpt2", vocab_size=64, dim=16, depth=2, heads=2, context=8)
  directory = save_hf(model, tmp_path / "gpt2")
  arrays = {name.removeprefix("transformer."): value for name, value in tensors(directory).items()}
  arrays["lm_head.weight"] = arrays["wte.weight"]  # tied, written twice
  write(directory, {**arrays, "h.0.attn.bias": np.ones((1, 1, 8, 8), np.float32)})
  jax.tree.map(np.testing.assert_array_equal, load_hf(directory).params, model.params)


def test_missing_and_unknown_tensors_are_named(saved):
  arrays = tensors(saved)
  arrays["model.layers.1.mlp.extra.weight"] = arrays.pop("model.layers.0.mlp.up_proj.weight")
  write(saved, arrays)
  with pytest.raises(ValueError, match=r"1 missing \['model.layers.0.mlp.up_proj.weight'\], 1 unknown \['model.lay"):
    load_hf(saved)


def test_a_tensor_of_another_shape_is_named(saved):
  edit(saved, intermediate_size=32)
  with pytest.raises(ValueError, match=r"mlp.gate_proj.weight' has shape \(24, 16\), config.json asks for \(32, 16\)"):
    load_hf(saved)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(model_type="bert"), "model_type must be one of gpt2, llama, .*; config.json has 'bert'"),
    (dict(rope_parameters={"rope_type": "yarn"}), "rope_type must be one of default, linear, llama3; .* has 'yarn'"),
    (dict(hidden_act="mish"), "the activation must be one of silu, .*; config.json has 'mish'"),
    (dict(partial_rotary_factor=0.5), "config.json has partial_rotary_factor = 0.5, only 1.0 is implemented"),
    (dict(quantization_config={"bits": 4}), "config.json has quantization_config = .*, which is not implemented"),
    (dict(mlp_only_layers=[0]), r"config.json has mlp_only_layers = \[0\], which is not implemented"),
  ],
)
def test_what_is_not_implemented_is_refused(saved, change, message):
  edit(saved, **change)
  with pytest.raises(ValueError, match=message):
    load_hf(saved)


def test_damaged_files_are_named(saved):
  edit(saved, rope_parameters={"rope_type": "linear"})
  with pytest.raises(ValueError, match="config.json of a 'llama' must have 'factor', which is missing"):
    load_hf(saved)
  edit(saved, rope_parameters={})
  (saved / "model.safetensors").write_bytes(b"no tensors" * 9)
  with pytest.raises(ValueError, match="model.safetensors is damaged or no safetensors file"):
    load_hf(saved)
  (saved / "model.safetensors.index.json").write_text("{}")
  with pytest.raises(ValueError, match="model.safetensors.index.json must have 'weight_map'"):
    load_hf(saved)
  (saved / "config.json").write_text("{")
  with pytest.raises(ValueError, match="config.json is damaged: Expecting"):
    load_hf(saved)
  (saved / "words.json").unlink()
  (saved / "tokenizer.json").write_text("{}")
  pytest.importorskip("tokenizers", reason="tokenizers is in the extra 'lm'")
  with pytest.raises(ValueError, match="tokenizer.json is damaged"):
    load_tokenizer(saved)


def test_old_and_new_ways_to_write_rope():
  base = to_hf(transformer("llama", **LLAMA).config)
  scaling = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
  new = {**base, "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **scaling}}
  old = {k: v for k, v in base.items() if k != "rope_parameters"}
  old |= {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **scaling}}
  assert from_hf(new) == from_hf(old)
  assert from_hf(new).rope_scaling == RopeScaling("llama3", 8.0) and from_hf(new).rope_theta == 5e5


def test_layers_with_a_window_where_the_file_does_not_list_them():
  base = to_hf(transformer("gemma3_text", **{**LLAMA, "depth": 7}, windows=(4,) * 5 + (0, 4)).config)
  old = {k: v for k, v in base.items() if k not in ("layer_types", "rope_parameters")}
  assert from_hf(old) == from_hf(base) and from_hf(old).windows == (4, 4, 4, 4, 4, 0, 4)
  with pytest.raises(ValueError, match=r"a 'llama' checkpoint cannot express qk_norm=True"):
    to_hf(transformer("llama", **LLAMA, qk_norm=True).config)


def test_directories_that_are_no_checkpoints(saved, tmp_path):
  with pytest.raises(FileNotFoundError, match="but there is no .*nowhere/config.json"):
    load_hf(tmp_path / "nowhere")
  (saved / "model.safetensors").unlink()
  with pytest.raises(FileNotFoundError, match=r"directory must hold \*.safetensors"):
    load_hf(saved)
  index = {"weight_map": {"model.norm.weight": "gone.safetensors"}}
  (saved / "model.safetensors.index.json").write_text(json.dumps(index))
  with pytest.raises(ValueError, match="missing"):
    load_hf(saved)


def test_saving_replaces_only_when_asked_and_only_when_complete(model, saved, monkeypatch):
  with pytest.raises(FileExistsError, match="pass overwrite=True"):
    save_hf(model, saved)
  before = sorted(p.name for p in saved.parent.iterdir())
  double = model.replace(params=jax.tree.map(lambda x: 2 * x, model.params))

  def fail(*_, **__):
    raise OSError("disk full")

  with monkeypatch.context() as patch:
    patch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
      save_hf(double, saved, overwrite=True)
  assert sorted(p.name for p in saved.parent.iterdir()) == before
  jax.tree.map(np.testing.assert_array_equal, load_hf(saved).params, model.params)
  save_hf(double, saved, overwrite=True)
  assert sorted(p.name for p in saved.parent.iterdir()) == before
  jax.tree.map(np.testing.assert_array_equal, load_hf(saved).params, double.params)


def test_the_tokenizer_is_checked_against_the_model(saved):
  with pytest.raises(ValueError, match="the tokenizer has 259 tokens, the model's vocab_size is 64"):
    load_tokenizer(saved)


def test_other_models_are_not_checkpoints(tmp_path):
  with pytest.raises(TypeError, match="save_hf needs a model whose fn is a Transformer, got NnxFn"):
    save_hf(make("mlp", input_shape=(4,), num_outputs=2).init(jax.random.key(0)), tmp_path / "x")
