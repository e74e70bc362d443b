"""The decoder-only Transformer: masks, cache, sites, mixture of experts, errors."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_language import filled, toy_lm

from unlearnjax.models import Transformer, TransformerConfig, transformer
from unlearnjax.models.decoder import moe
from unlearnjax.models.decoder.config import RopeScaling
from unlearnjax.models.decoder.layers import frequencies

SIZES = dict(vocab_size=48, dim=16, depth=3, heads=4, kv_heads=2, hidden=24, context=32)
TOKENS = np.random.default_rng(0).integers(1, 48, (2, 7))
FAMILIES = {"gemma3_text": dict(windows=(3, 0, 3)), "gpt2": dict(kv_heads=4)}
PARAMS = ["gemma3_text", pytest.param("gpt2", marks=pytest.mark.slow)]
call = jax.jit(lambda model, **inputs: model(inputs).logits)
call_cached = jax.jit(lambda model, state, **inputs: model.fn(model.params, inputs, state=state))


@pytest.fixture(scope="module", params=PARAMS)
def model(request):
  return toy_lm(request.param, **{**SIZES, **FAMILIES[request.param]})


@pytest.fixture(scope="module")
def llama():
  return toy_lm("llama", std=0.1, **SIZES)


@pytest.fixture(scope="module")
def whole(model):
  return np.asarray(call(model, tokens=TOKENS))


def close(a, b, tolerance=2e-5):
  np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=tolerance, rtol=tolerance)


def test_the_future_is_not_seen(model, whole):
  changed = TOKENS.copy()
  changed[:, 4] = 3
  out = call(model, tokens=changed)
  close(out[:, :4], whole[:, :4])
  assert np.abs(out[:, 4:] - whole[:, 4:]).max() > 1e-3


def test_a_cache_gives_the_same_logits_on_both_sides_of_padding(model, whole):
  """Rows of 7 and 5 tokens: prompts of 4 with padding left or right, then the rest."""
  short = np.asarray(call(model, tokens=TOKENS[1:, :5]))
  left = np.array([[1, 1, 1, 1], [0, 0, 1, 1]])
  for segments in (left, left[:, ::-1]):
    prompt = np.zeros((2, 4), int)
    prompt[0], prompt[1, segments[1] == 1] = TOKENS[0, :4], TOKENS[1, :2]
    cache = model.fn.cache(2, 12)
    out = call_cached(model, cache, tokens=prompt, segment_ids=segments)
    close(out.logits[0], whole[0, :4])
    close(out.logits[1, segments[1] == 1], short[0, :2])
    out = call_cached(model, out.state, tokens=np.stack([TOKENS[0, 4:], TOKENS[1, 2:5]]))
    close(out.logits, np.stack([whole[0, 4:], short[0, 2:]]))
    assert int(out.state["length"]) == 7 and jax.tree.structure(out.state) == jax.tree.structure(cache)


def test_packed_segments_and_explicit_positions(model, whole):
  packed = np.concatenate([TOKENS, TOKENS[::-1]], 1)
  segments = np.repeat([[1, 2], [5, 3]], 7, axis=1)
  out = call(model, tokens=packed, segment_ids=segments)
  close(out, np.concatenate([whole, whole[::-1]], 1))
  positions = np.tile(np.arange(7), (2, 2))
  close(out, call(model, tokens=packed, segment_ids=segments, positions=positions))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gemma3_text"], indirect=True)
def test_remat_unroll_and_jit_change_nothing(model):
  config = dataclasses.replace(model.fn.config, remat=True, unroll=3)
  loss = lambda fn: lambda params: jnp.square(fn(params, {"tokens": TOKENS}).logits).mean()
  value, grads = jax.jit(jax.value_and_grad(loss(model.fn)))(model.params)
  value2, grads2 = jax.jit(jax.value_and_grad(loss(Transformer(config))))(model.params)
  close(value, value2)
  jax.tree.map(close, grads, grads2)
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_sites_of_single_layers_are_read_and_rewritten(llama):
  sites = ("embed", "blocks/0", "blocks/1:in", "blocks/2/attn/q", "blocks/1/mlp/down:in", "blocks/1/attn", "head:in")
  out = jax.jit(lambda m: m({"tokens": TOKENS}, capture=sites))(llama)
  assert set(out.hidden) == set(sites)
  np.testing.assert_array_equal(out.hidden["blocks/0"], out.hidden["blocks/1:in"])
  assert out.hidden["blocks/1/mlp/down:in"].shape == (2, 7, 24)
  twice = {"blocks/1:in": lambda h: 2 * h}
  double = jax.jit(lambda m: m({"tokens": TOKENS}, inject=twice, capture=("blocks/0", "blocks/1:in")))(llama)
  close(double.hidden["blocks/0"], out.hidden["blocks/0"])
  close(double.hidden["blocks/1:in"], 2 * out.hidden["blocks/0"])
  assert np.abs(double.logits - out.logits).max() > 1e-4


def test_injections_are_differentiable_and_run_in_their_layer_only(llama):
  """What is added to layer 1 is not finite anywhere else, and leaves no NaN in the gradient."""
  first = jax.jit(lambda m: m({"tokens": TOKENS}, capture=("blocks/0",)).hidden["blocks/0"])(llama)
  norm = lambda h: jnp.sqrt(jnp.square(h - first).sum())

  @jax.jit
  def loss(delta):
    out = llama({"tokens": TOKENS}, inject={"blocks/1": lambda h: h + delta / norm(h)})
    return jnp.square(100 * out.logits).sum()

  delta, direction = 0.1 * jax.random.normal(jax.random.key(1), (2, 2, 7, 16))
  finite = (loss(delta + 1e-2 * direction) - loss(delta - 1e-2 * direction)) / 2e-2
  np.testing.assert_allclose(jnp.vdot(jax.grad(loss)(delta), direction), finite, rtol=2e-2)


def test_all_sites_can_be_captured(model):
  fn = model.fn
  wanted = tuple(s for site in fn.sites for s in (site, site + ":in") if site != "embed")
  shapes = jax.eval_shape(lambda p: fn(p, {"tokens": TOKENS}, capture=wanted).hidden, model.params)
  assert set(shapes) == set(wanted)


def test_experts_equal_a_loop_over_them():
  fn = transformer("qwen2_moe", **{**SIZES, "depth": 1, "experts": 4, "experts_per_token": 2})
  params = jax.tree.map(lambda x: np.asarray(x[0]), filled(fn, 0.3).params["blocks"]["mlp"])
  x = np.random.default_rng(1).standard_normal((2, 5, 16), np.float32)

  def mixture(x, grouped):
    return moe.mixture(dataclasses.replace(fn.config, grouped=grouped), params, x, lambda site, h: h)

  def by_loop(x):
    shares = jax.nn.softmax(x @ params["router"]["kernel"])
    shares = jnp.where(shares >= jnp.sort(shares, -1)[..., -2:-1], shares, 0)
    outputs = 0
    for e in range(4):
      w = {k: v["kernel"][e] for k, v in params["experts"].items()}
      outputs += shares[..., e, None] * ((jax.nn.silu(x @ w["gate"]) * (x @ w["up"])) @ w["down"])
    return outputs

  def all_ways(x):
    """(outputs, gradients) by the loop, grouped, dense, and dense with `vmap` over examples."""
    ways = [by_loop, lambda x: mixture(x, True), lambda x: mixture(x, False)]
    ways.append(jax.vmap(lambda row: mixture(row[None], False)[0]))
    return [(f(x), jax.grad(lambda x, f=f: jnp.sin(f(x)).sum())(x)) for f in ways]

  (outputs, gradients), *others = jax.jit(all_ways)(x)
  assert jnp.abs(outputs).max() > 0.1 and jnp.abs(gradients).max() > 0.1
  for found in others:
    close(found[0], outputs, 1e-6)
    close(found[1], gradients, 1e-5)


def test_router_logits_are_a_site():
  model = toy_lm("mixtral", **{**SIZES, "depth": 2}, experts=4)
  site = "blocks/1/mlp/router"
  force = {site: lambda h: h.at[..., 0].set(50.0)}
  out, forced = jax.jit(lambda m: [m({"tokens": TOKENS}, capture=(site,), inject=f) for f in ({}, force)])(model)
  assert out.hidden[site].shape == (2, 7, 4) and (forced.hidden[site][..., 0] == 50).all()
  assert np.abs(forced.logits - out.logits).max() > 1e-6


def test_llama3_scaling_keeps_short_waves_and_stretches_long_ones():
  plain, scaled = frequencies(64, 5e5), frequencies(64, 5e5, RopeScaling("llama3", 8.0, 1.0, 4.0, 8192))
  waves = 2 * np.pi / plain
  np.testing.assert_array_equal(scaled[waves < 8192 / 4], plain[waves < 8192 / 4])
  close(scaled[waves > 8192] * 8, plain[waves > 8192], 1e-7)
  between = (waves > 8192 / 4) & (waves < 8192)
  assert between.any() and (scaled[between] < plain[between]).all() and (scaled[between] > plain[between] / 8).all()


def test_half_precision_computes_in_it_and_returns_float32(llama):
  fn = transformer("llama", **SIZES, dtype="bfloat16", param_dtype="bfloat16")
  params = jax.tree.map(lambda x: x.astype("bfloat16"), llama.params)
  out = jax.jit(lambda p: fn(p, {"tokens": TOKENS}, capture=("blocks/1",)))(params)
  assert out.logits.dtype == jnp.float32 and out.hidden["blocks/1"].dtype == jnp.bfloat16
  close(out.logits, call(llama, tokens=TOKENS), 2e-2)
  assert {str(x.dtype) for x in jax.tree.leaves(jax.eval_shape(fn.init, jax.random.key(0)).params)} == {"bfloat16"}


def test_fresh_weights_follow_the_configuration():
  fn = transformer("gpt2", vocab_size=64, dim=32, depth=2, heads=2, context=8, init_std=0.1)
  one, two = (fn.init(jax.random.key(0)).params for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  blocks = one["blocks"]
  assert float(one["embed"]["table"].std()) == pytest.approx(0.1, rel=0.05)
  assert float(blocks["mlp"]["up"]["kernel"].std()) == pytest.approx(0.1, rel=0.05)
  assert float(blocks["mlp"]["down"]["kernel"].std()) == pytest.approx(0.05, rel=0.05)  # writes to the stream
  assert (blocks["norm1"]["scale"] == 1).all() and (blocks["mlp"]["up"]["bias"] == 0).all()


def test_dropout_needs_a_key_and_only_in_training(llama):
  fn = transformer("llama", **SIZES, dropout=0.5)
  x = {"tokens": TOKENS}
  np.testing.assert_array_equal(call(llama.replace(fn=fn), **x), call(llama, **x))
  train = jax.jit(lambda key: fn(llama.params, x, train=True, rng=key).logits)
  a, b = (train(jax.random.key(i)) for i in (0, 1))
  assert np.abs(a - b).max() > 1e-4
  with pytest.raises(ValueError, match="training with dropout 0.5 needs rng"):
    fn(llama.params, x, train=True)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(heads=3), "heads must divide dim, got 3 heads and dim 16"),
    (dict(kv_heads=3), "kv_heads must divide heads, got 3 of 4"),
    (dict(windows=(1,)), "windows must hold one number a layer, got 1 for 3 layers"),
    (dict(norm="group"), "norm must be one of rms, layer; got 'group'"),
    (dict(rope_scaling=RopeScaling("yarn")), "rope_scaling.kind must be one of default, linear, llama3; got 'yarn'"),
    (dict(experts=2, experts_per_token=3), "experts_per_token must be from 1 to 2, got 3"),
  ],
)
def test_configurations_that_do_not_fit(change, message):
  with pytest.raises(ValueError, match=message):
    TransformerConfig(**{**SIZES, **change})


def test_calls_that_cannot_be_right(llama):
  with pytest.raises(ValueError, match="inputs must be a mapping with 'tokens' int32"):
    llama({"x": TOKENS})
  with pytest.raises(ValueError, match=r"inputs holds \['prefix'\], which a Transformer does not read"):
    llama({"tokens": TOKENS, "prefix": TOKENS})
  with pytest.raises(ValueError, match="has 33 tokens, the context is 32"):
    llama({"tokens": np.zeros((1, 33), int)})
  with pytest.raises(ValueError, match=r"inputs\['segment_ids'\] must have the shape of tokens"):
    llama({"tokens": TOKENS, "segment_ids": TOKENS[0]})
  with pytest.raises(ValueError, match=r"must be int32\[B, T\], got float"):
    llama({"tokens": TOKENS * 1.0})
  with pytest.raises(ValueError, match=r"params must hold the variables of this model: 1 missing \['norm/scale'\]"):
    llama.fn({k: v for k, v in llama.params.items() if k != "norm"}, {"tokens": TOKENS})
  with pytest.raises(ValueError, match="the cache holds 1 rows of 4 tokens"):
    llama.fn(llama.params, {"tokens": TOKENS}, state=llama.fn.cache(1, 4))
  with pytest.raises(ValueError, match="length must be from 1 to the context of 32 tokens, got 40"):
    llama.fn.cache(1, 40)
  with pytest.raises(ValueError, match="site 'blocks/7' does not exist"):
    llama({"tokens": TOKENS}, capture=("blocks/7",))


def test_layers_above_what_is_captured_are_not_differentiated():
  fn = transformer("llama", vocab_size=16, dim=8, depth=3, heads=2)
  params = fn.init(jax.random.key(0)).params
  broken = {**params, "blocks": jax.tree.map(lambda p: p.at[1:].set(jnp.nan), params["blocks"])}
  inputs = {"tokens": jnp.array([[1, 2, 3]])}
  energy = lambda p: jnp.sum(fn(p, inputs, capture=("blocks/0",)).hidden["blocks/0"] ** 2)
  gradient = jax.jit(jax.grad(energy))(broken)["blocks"]
  assert all(bool(jnp.isfinite(g).all() & (g[1:] == 0).all()) for g in jax.tree.leaves(gradient))
  assert float(jnp.abs(gradient["mlp"]["down"]["kernel"][0]).sum()) > 0
