"""Networks for tables and images: shapes, sites, layers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from unlearnjax.core.tree import paths
from unlearnjax.models import MLP, ConvNet, ResNet, ViT, from_nnx, make, replace_where, select
from unlearnjax.models.layers import max_pool
from unlearnjax.models.vit import patches

KEY = jax.random.key(0)
SMALL = {
  "mlp": ((5,), {"widths": (8, 6)}),
  "regression_mlp": ((5,), {"widths": (6,)}),
  "convnet": ((9, 8, 2), {"widths": (3, 4, 5), "dense": 7}),
  "resnet8": ((9, 8, 3), {"width": 4}),
  "resnet8_gn": ((9, 8, 3), {"width": 4}),
  "vit": ((8, 12, 1), {"dim": 8, "heads": 2, "depth": 2}),
}


@functools.cache
def build(name, **more):
  shape, options = SMALL[name]
  model = make(name, input_shape=shape, num_outputs=3, **{**options, **more}).init(KEY)
  return model, jax.random.normal(jax.random.key(1), (4, *shape))


@pytest.mark.parametrize("name", SMALL)
def test_every_model_ends_in_a_head_on_penultimate_features(name):
  model, x = build(name)
  blocks = tuple(f"blocks/{i}" for i in model.params["blocks"])
  out = jax.jit(lambda m, x: m({"x": x}, capture=("head:in", *blocks)))(model, x)
  head = model.params["head"]
  assert out.logits.shape == (4, 3) and out.hidden["head:in"].shape == (4, head["kernel"].shape[0])
  np.testing.assert_allclose(out.logits, out.hidden["head:in"] @ head["kernel"] + head["bias"], rtol=1e-5, atol=1e-6)
  assert blocks and set(out.hidden) == {"head:in", *blocks}
  last = out.hidden[blocks[-1]]
  features = {"vit": lambda h: None, "resnet8": lambda h: h.mean((1, 2)), "resnet8_gn": lambda h: h.mean((1, 2))}
  expected = features.get(name, lambda h: h)(last)
  if expected is not None:  # the transformer normalises in between
    np.testing.assert_allclose(out.hidden["head:in"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient_in_train_mode_and_bfloat16_runs(name):
  model, x = build(name)
  loss = lambda p, x: jnp.sum(model.fn(p, {"x": x}, state=model.state, train=True).logits.astype(jnp.float32) ** 2)
  grads = jax.jit(jax.grad(loss))(model.params, x)
  zero = [n for n, g in zip(paths(grads), jax.tree.leaves(grads)) if not jnp.any(g)]
  assert not [n for n in zero if not n.endswith("attn/k/bias")]  # softmax does not see a shift of all its logits
  half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), model.params)
  x = x.astype(jnp.bfloat16)
  assert {g.dtype for g in jax.tree.leaves(jax.eval_shape(jax.grad(loss), half, x))} == {jnp.dtype(jnp.bfloat16)}
  if not name.startswith("resnet"):  # those take seconds to compile; test_nnx_adapter runs batch statistics in bfloat16
    np.testing.assert_allclose(jax.jit(loss)(half, x), loss(model.params, x), rtol=0.2)


def test_state_is_batch_statistics_only_and_keeps_its_structure_in_a_scan():
  model, x = build("resnet8")
  assert {p.rpartition("/")[2] for p in paths(model.state)} == {"mean", "var"}
  body = lambda state, _: (model.fn(model.params, {"x": x}, state=state, train=True).state, None)
  state = jax.jit(lambda s: jax.lax.scan(body, s, None, length=60)[0])(model.state)
  conv = model({"x": x}, train=True, capture=("stem",)).hidden["stem"]
  np.testing.assert_allclose(state["stem_norm"]["mean"], conv.mean((0, 1, 2)) * (1 - 0.9**60), rtol=1e-3, atol=1e-5)
  for name in ("resnet8_gn", "convnet", "mlp", "vit"):
    assert build(name)[0].state == ()


def test_dropout_is_state_and_drops_only_in_training():
  for name in ("mlp", "convnet", "vit"):
    model, x = build(name, dropout=0.5)
    assert {p.rpartition("/")[2] for p in paths(model.state)} == {"count", "key"}
    run = lambda **kwargs: model({"x": x}, **kwargs).logits  # noqa: B023
    np.testing.assert_array_equal(run(), run())
    assert not np.array_equal(run(train=True, rng=jax.random.key(1)), run(train=True, rng=jax.random.key(2)))


def test_an_mlp_by_hand():
  model, x = build("mlp")
  h = x
  for i in "01":
    layer = model.params["blocks"][i]["linear"]
    h = np.maximum(h @ layer["kernel"] + layer["bias"], 0)
  head = model.params["head"]
  np.testing.assert_allclose(model({"x": x}).logits, h @ head["kernel"] + head["bias"], rtol=1e-5, atol=1e-6)
  assert model({"x": x.reshape(4, 5, 1)}).logits.shape == (4, 3)  # flattened


def test_a_convnet_block_is_conv_relu_pool():
  model, x = build("convnet")
  out = model({"x": x}, capture=("blocks/0", "blocks/0/conv"))
  conv = np.maximum(out.hidden["blocks/0/conv"], 0)
  expected = conv[:, :8, :8].reshape(4, 4, 2, 4, 2, 3).max((2, 4))
  np.testing.assert_array_equal(out.hidden["blocks/0"], expected)


def test_max_pool_equals_a_windowed_reduction():
  x = jax.random.normal(KEY, (2, 7, 6, 3))
  expected = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
  np.testing.assert_array_equal(max_pool(x), expected)


def test_a_residual_block_adds_its_input():
  model, x = build("resnet8_gn")
  still = select(model.params, "blocks/0/norm2/.*")
  params = replace_where(still, jax.tree.map(jnp.zeros_like, model.params), model.params)
  out = model.fn(params, {"x": x}, capture=("blocks/0:in", "blocks/0"))
  np.testing.assert_array_equal(out.hidden["blocks/0"], out.hidden["blocks/0:in"])


def test_resnet18_has_the_published_number_of_parameters():
  """11,173,962 weights: the CIFAR-10 ResNet-18 (64 to 512 channels, 1x1 shortcuts with norms, no bias)."""
  shapes = jax.eval_shape(make("resnet18", input_shape=(32, 32, 3), num_outputs=10).init, KEY).params
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 11_173_962


def test_vit_patches_and_pooling():
  x = jnp.arange(2 * 4 * 6).reshape(2, 4, 6, 1)
  assert patches(x, 2).shape == (2, 6, 4) and patches(x, 2)[1, 4].tolist() == [38, 39, 44, 45]
  model, x = build("vit")
  tokens = model({"x": x}, capture=("norm", "head:in")).hidden
  np.testing.assert_allclose(tokens["head:in"], tokens["norm"].mean(1), rtol=1e-5, atol=1e-6)
  model, x = build("vit", pool="cls")
  tokens = model({"x": x}, capture=("norm", "head:in")).hidden
  np.testing.assert_array_equal(tokens["head:in"], tokens["norm"][:, 0])
  assert tokens["norm"].shape[1] == 1 + 2 * 3


def test_attention_by_hand():
  model, x = build("vit")
  a = model.params["blocks"]["0"]["attn"]
  out = model({"x": x}, capture=("blocks/0/attn", "blocks/0/attn:in")).hidden
  h = np.asarray(out["blocks/0/attn:in"])
  q, k, v = (np.asarray(h @ a[n]["kernel"] + a[n]["bias"]).reshape(4, 6, 2, 4) for n in "qkv")
  scores = jax.nn.softmax(np.einsum("bihd,bjhd->bhij", q, k) / 2.0)
  mixed = np.einsum("bhij,bjhd->bihd", scores, v).reshape(4, 6, 8)
  np.testing.assert_allclose(out["blocks/0/attn"], mixed @ a["out"]["kernel"] + a["out"]["bias"], rtol=1e-4, atol=1e-5)


def test_modules_work_as_plain_nnx_modules():
  make_it = lambda rngs: ResNet((4, 4, 1), 2, blocks_per_stage=(1,), width=2, rngs=rngs)
  trained = make_it(nnx.Rngs(7))
  trained.eval()
  x = jax.random.normal(KEY, (2, 4, 4, 1))
  logits = jax.jit(lambda m: m({"x": x}).logits)(from_nnx(make_it).wrap(trained))
  np.testing.assert_allclose(logits, jax.jit(lambda: trained(x))(), rtol=1e-4, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused():
  rngs = nnx.Rngs(0)
  with pytest.raises(ValueError, match=r"input_shape \(4, 4, 1\) is too small to be halved 3 times"):
    ConvNet((4, 4, 1), 2, rngs=rngs)
  with pytest.raises(ValueError, match=r"input_shape must be \(height, width, channels\), got \(5,\)"):
    ResNet((5,), 2, rngs=rngs)
  with pytest.raises(ValueError, match=r"patch must divide the image, got patch 4 and input_shape \(10, 8, 1\)"):
    ViT((10, 8, 1), 2, rngs=rngs)
  with pytest.raises(ValueError, match="heads must divide dim, got 3 heads and dim 8"):
    ViT((8, 8, 1), 2, dim=8, heads=3, rngs=rngs)
  with pytest.raises(ValueError, match="norm must be one of batch, group; got 'layer'"):
    ResNet((8, 8, 3), 2, norm="layer", rngs=rngs)
  with pytest.raises(ValueError, match="activation must be one of relu, tanh"):
    MLP((5,), 2, activation="step", rngs=rngs)
  with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
    MLP((5,), 2, dropout=1.0, rngs=rngs)
