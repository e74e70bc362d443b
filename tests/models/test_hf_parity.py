"""Every family of language models equals `transformers`: logits, padding, cache, generation, checkpoints of either."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from unlearnjax.models import generate, load_hf, save_hf

torch = pytest.importorskip("torch", reason="parity with transformers needs the extra 'parity'")
hf = pytest.importorskip("transformers", reason="parity with transformers needs the extra 'parity'")
pytest.importorskip("safetensors", reason="checkpoints need the extra 'lm'")

COMMON = dict(
  vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
  intermediate_size=48, max_position_embeddings=64, head_dim=8, bos_token_id=1, eos_token_id=None, pad_token_id=0,
)  # fmt: skip
LLAMA3 = dict(
  rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
  original_max_position_embeddings=16,
)  # fmt: skip
MIXED = ["sliding_attention", "full_attention"]
LINEAR = dict(
  full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
  sliding_attention=dict(rope_type="default", rope_theta=1e4),
)
WINDOW = dict(sliding_window=5, query_pre_attn_scalar=16, layer_types=MIXED)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
FAMILIES = {
  "gpt2": ("GPT2Config", dict(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=None)),
  "llama": ("LlamaConfig", COMMON | dict(rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True)),
  "qwen2": (
    "Qwen2Config",
    COMMON | dict(use_sliding_window=True, sliding_window=5, max_window_layers=1, tie_word_embeddings=True),
  ),
  "qwen3": ("Qwen3Config", COMMON),
  "gemma": ("GemmaConfig", COMMON),
  "gemma2": ("Gemma2Config", COMMON | WINDOW),
  "gemma3": ("Gemma3TextConfig", COMMON | WINDOW | dict(rope_parameters=LINEAR)),
  "mixtral": ("MixtralConfig", COMMON | dict(num_local_experts=4)),
  "qwen2_moe": ("Qwen2MoeConfig", COMMON | EXPERTS | dict(shared_expert_intermediate_size=24)),
  "qwen3_moe": ("Qwen3MoeConfig", COMMON | EXPERTS | dict(norm_topk_prob=True)),
}
TOKENS = np.random.default_rng(0).integers(1, 64, (2, 12)).astype(np.int32)
PADDED = np.array([[1] * 12, [0] * 4 + [1] * 8], np.int32)
NEW = 6

call = jax.jit(lambda model, **inputs: model(inputs).logits)
call_cached = jax.jit(lambda model, state, **inputs: model.fn(model.params, inputs, state=state))


FAST = ("gpt2", "llama", "gemma3")  # together they have every option of a dense model


@pytest.fixture(scope="module", params=[n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES])
def pair(request, tmp_path_factory):
  """(their model, ours, the directory), with weights large enough that nothing is nearly linear."""
  name, sizes = FAMILIES[request.param]
  torch.manual_seed(0)
  theirs = hf.AutoModelForCausalLM.from_config(getattr(hf, name)(**sizes), attn_implementation="eager").eval()
  with torch.no_grad():
    for parameter in theirs.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  directory = tmp_path_factory.mktemp(request.param) / "theirs"
  theirs.save_pretrained(directory)
  return theirs, load_hf(directory), directory


def close(ours, theirs):
  np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_padding_cache_and_generation(pair):
  theirs, ours, _ = pair
  tokens, mask = torch.tensor(TOKENS), torch.tensor(PADDED)
  close(call(ours, tokens=TOKENS), theirs(tokens).logits)

  positions = (mask.cumsum(-1) - 1).clamp(min=0)
  padded = theirs(tokens, attention_mask=mask, position_ids=positions).logits
  cache = ours.fn.cache(2, 12 + NEW)
  first = call_cached(ours, cache, tokens=TOKENS[:, :9], segment_ids=PADDED[:, :9])
  rest = call_cached(ours, first.state, tokens=TOKENS[:, 9:])
  logits = np.concatenate([first.logits, rest.logits], 1)
  close(logits[PADDED == 1], padded.numpy()[PADDED == 1])

  kwargs = dict(max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0)
  text = theirs.generate(tokens, attention_mask=mask, **kwargs)[:, 12:]
  np.testing.assert_array_equal(generate(ours, TOKENS, NEW, segment_ids=PADDED).tokens, text)


@torch.no_grad()
def test_what_we_write_is_read_by_both(pair, tmp_path):
  theirs, ours, directory = pair
  written = save_hf(ours, tmp_path / "ours", like=directory, shard_bytes=20_000)
  assert (written / "model.safetensors.index.json").exists() and (written / "generation_config.json").exists()
  again = load_hf(written)
  assert again.fn == ours.fn
  jax.tree.map(np.testing.assert_array_equal, again.params, ours.params)
  reread = hf.AutoModelForCausalLM.from_pretrained(written).eval()
  assert reread.state_dict().keys() == theirs.state_dict().keys()
  for name, value in theirs.state_dict().items():
    np.testing.assert_array_equal(reread.state_dict()[name], value)
  one, two = (json.loads((d / "config.json").read_text()) for d in (directory, written))
  assert all(two[key] == value for key, value in one.items() if key in ("bos_token_id", "vocab_size", "model_type"))


@torch.no_grad()
def test_a_changed_configuration_is_read_back(pair, tmp_path):
  """The config.json alone, without that of the original, computes the same for them."""
  theirs, ours, _ = pair
  reread = hf.AutoModelForCausalLM.from_pretrained(save_hf(ours, tmp_path / "alone"), attn_implementation="eager")
  close(reread.eval()(torch.tensor(TOKENS)).logits, theirs(torch.tensor(TOKENS)).logits)
