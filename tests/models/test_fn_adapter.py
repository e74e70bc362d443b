"""Hand-written functions as model functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_modules import plain_small

from unlearnjax.core import Outputs
from unlearnjax.models import from_fn

X = jax.random.normal(jax.random.key(9), (6, 5))


def weights(key):
  return {"w": jax.random.normal(key, (5, 3))}


def small_weights(key):
  a, b = jax.random.split(key)
  return {
    "fc": {"kernel": jax.random.normal(a, (5, 8)), "bias": jnp.zeros(8)},
    "head": {"kernel": jax.random.normal(b, (8, 3)), "bias": jnp.ones(3)},
  }


def test_the_simplest_function():
  fn = from_fn(lambda params, x: x @ params["w"], weights)
  model = fn.init(jax.random.key(0))
  np.testing.assert_array_equal(model({"x": X}).logits, X @ model.params["w"])
  assert model({"x": X}).state == () and fn(model.params, {"x": X}, state={"kept": X}).state["kept"] is X


def test_sites_need_a_tap():
  model = from_fn(lambda params, x: x @ params["w"], weights).init(jax.random.key(0))
  for request in ({"capture": ("head:in",)}, {"inject": {"head:in": jnp.zeros_like}}):
    with pytest.raises(ValueError, match="has no sites, so .'head:in'. cannot be captured or injected; .*`tap`"):
      model({"x": X}, **request)


def test_taps_capture_and_inject():
  model = from_fn(plain_small, small_weights).init(jax.random.key(0))
  out = model({"x": X}, capture=("fc", "head:in"))
  np.testing.assert_array_equal(jax.nn.relu(out.hidden["fc"]), out.hidden["head:in"])
  zero = model({"x": X}, inject={"head:in": jnp.zeros_like})
  np.testing.assert_array_equal(zero.logits, np.ones((6, 3)))
  with pytest.raises(ValueError, match="'head' was not reached in this forward pass; did you mean 'head:in'|Sites"):
    model({"x": X}, capture=("head",))


def test_state_rng_train_and_the_mapping_are_handed_over_where_declared():
  def apply(params, inputs, *, state, rng, train):
    noise = jax.random.normal(rng, (3,)) if train else 0.0
    return inputs["x"] @ params["w"] * inputs["t"] + noise, {"calls": state["calls"] + 1}

  fn = from_fn(apply, lambda key: (weights(key), {"calls": jnp.zeros((), jnp.int32)}))
  model = fn.init(jax.random.key(0))
  plain = model({"x": X, "t": 2.0})
  np.testing.assert_allclose(plain.logits, 2 * X @ model.params["w"], rtol=1e-6)
  noisy = model({"x": X, "t": 2.0}, rng=jax.random.key(1), train=True)
  np.testing.assert_allclose(
    noisy.logits - plain.logits, np.tile(jax.random.normal(jax.random.key(1), (3,)), (6, 1)), rtol=1e-4
  )
  assert int(noisy.state["calls"]) == 1


def test_a_function_may_serve_sites_itself():
  def apply(params, x, *, capture, inject):
    h = inject["x"](x) if "x" in inject else x
    return Outputs(h @ params["w"], {"x": h} if "x" in capture else {})

  model = from_fn(apply, weights).init(jax.random.key(0))
  out = model({"x": X}, capture=("x",), inject={"x": lambda h: 2 * h})
  np.testing.assert_array_equal(out.hidden["x"], 2 * X)
  with pytest.raises(ValueError, match="site 'y' was not put into Outputs.hidden by the function"):
    model({"x": X}, capture=("y",))


def test_equality_and_jit():
  a, b = from_fn(plain_small, small_weights), from_fn(plain_small, small_weights)
  assert a == b and hash(a) == hash(b)
  model = a.init(jax.random.key(0))
  out = jax.jit(lambda m, x: m({"x": x}, capture=("fc",)))(model, X)
  assert out.hidden["fc"].shape == (6, 8)


def test_what_is_not_a_function_of_parameters_and_input_is_refused():
  with pytest.raises(TypeError, match="apply must be a function, got int"):
    from_fn(3, weights)
  with pytest.raises(TypeError, match="init must be a function, got dict"):
    from_fn(plain_small, {})
  with pytest.raises(TypeError, match=r"apply must take \(params, x\) or \(params, inputs\)"):
    from_fn(lambda params: params, weights)
