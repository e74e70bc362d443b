"""Linen modules as pure functions, and agreement of the three adapters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from toy_modules import LinenBusy, LinenSmall, Small, plain_small

from unlearnjax.models import from_fn, from_linen, from_nnx

X = jax.random.normal(jax.random.key(9), (6, 5))
BUSY = from_linen(LinenBusy(), X[:1])
MODEL = BUSY.init(jax.random.key(0))


def test_three_adapters_agree_on_the_same_weights():
  nnx_model = from_nnx(Small).init(jax.random.key(0))
  p = nnx_model.params
  weights = {"fc": p["blocks"]["0"]["fc"], "head": p["head"]}
  linen_model = from_linen(LinenSmall(), {"x": X}).wrap({"params": weights})
  plain_model = from_fn(plain_small, lambda key: weights).init(jax.random.key(0))
  first = "blocks/0/fc"
  double = lambda h: 2 * h
  for site, inject in (("head:in", {}), ("head:in", {"head:in": double}), (None, {"fc": double})):
    found = []
    for model in (nnx_model, linen_model, plain_model):
      rename = lambda s, model=model: first if s == "fc" and model is nnx_model else s
      capture = () if site is None else (site,)
      out = model({"x": X}, capture=capture, inject={rename(s): f for s, f in inject.items()})
      found.append((out.logits, *out.hidden.values()))
      assert out.state == ()
    for other in found[1:]:
      for a, b in zip(found[0], other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_state_holds_the_other_collections_and_moves_only_in_training():
  assert set(MODEL.state) == {"batch_stats"} and set(MODEL.params) == {"fc", "bn", "head"}
  out = MODEL({"x": X})
  assert out.state is MODEL.state
  trained = MODEL({"x": X}, train=True, rng=jax.random.key(1))
  assert jax.tree.structure(trained.state) == jax.tree.structure(MODEL.state)
  h = X @ MODEL.params["fc"]["kernel"] + MODEL.params["fc"]["bias"]
  np.testing.assert_allclose(trained.state["batch_stats"]["bn"]["mean"], 0.1 * h.mean(0), rtol=1e-4, atol=1e-6)


def test_train_mode_rides_in_a_scan_and_rng_feeds_dropout():
  def body(state, key):
    out = BUSY(MODEL.params, {"x": X}, state=state, rng=key, train=True)
    return out.state, out.logits[0, 0]

  keys = jax.random.split(jax.random.key(0), 4)
  state, values = jax.jit(lambda s: jax.lax.scan(body, s, keys))(MODEL.state)
  assert jax.tree.structure(state) == jax.tree.structure(MODEL.state) and len(set(np.asarray(values).tolist())) == 4


def test_bfloat16_state_keeps_its_type():
  half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (MODEL.params, MODEL.state))
  out = BUSY(half[0], {"x": X}, state=half[1], rng=jax.random.key(0), train=True)
  assert {leaf.dtype for leaf in jax.tree.leaves(out.state)} == {jnp.dtype(jnp.bfloat16)}


def test_nested_submodules_are_sites_in_the_order_of_their_calls():
  class Outer(linen.Module):
    @linen.compact
    def __call__(self, x):
      return linen.Dense(2, name="head")(LinenSmall(name="body")(x))

  fn = from_linen(Outer(), X)
  assert fn.sites == ("body/fc", "body/head", "body", "head")
  model = fn.init(jax.random.key(0))
  out = model({"x": X}, inject={"body": jnp.zeros_like}, capture=("head:in",))
  assert not out.hidden["head:in"].any() and out.logits.shape == (6, 2)


def test_a_cache_moves_in_evaluation():
  class Counter(linen.Module):
    @linen.compact
    def __call__(self, x):
      seen = self.variable("cache", "seen", lambda: jnp.zeros((), jnp.int32))
      if not self.is_initializing():
        seen.value += x.shape[0]
      return x

  assert int(from_linen(Counter(), X).init(jax.random.key(0))({"x": X}).state["cache"]["seen"]) == 6


def test_equal_modules_share_programs():
  assert from_linen(LinenBusy(), X) == from_linen(LinenBusy(), jnp.zeros((6, 5)))
  assert hash(from_linen(LinenSmall(), X)) == hash(from_linen(LinenSmall(), X))


def test_errors_say_what_is_wrong():
  class Listy(linen.Module):
    widths: list

    @linen.compact
    def __call__(self, x):
      return x

  with pytest.raises(TypeError, match="the fields of Listy must be hashable"):
    from_linen(Listy([1, 2]), X)
  with pytest.raises(TypeError, match="module must be a flax.linen.Module, got int"):
    from_linen(3, X)
  with pytest.raises(ValueError, match="site 'haed' does not exist; did you mean 'head'"):
    MODEL({"x": X}, capture=("haed",))
  with pytest.raises(ValueError, match=r"state must hold .* 2 missing \['batch_stats/bn/mean'"):
    BUSY(MODEL.params, {"x": X})
