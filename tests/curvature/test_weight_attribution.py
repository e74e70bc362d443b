"""Scores of weights and regions of tensors: closed forms and limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import curvature
from unlearnjax.core import Examples, Model, Outputs, fold
from unlearnjax.objectives import mean

RNG = np.random.default_rng(0)
TREE = lambda: {k: jnp.asarray(RNG.standard_normal(s), jnp.float32) for k, s in (("a", (3, 4)), ("b", (5,)))}
THETA, FORGET, RETAIN = TREE(), TREE(), TREE()


def order(tree):
  return np.argsort(np.abs(np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])), kind="stable").tolist()


def of(**how):
  return curvature.weight_attribution(THETA, FORGET, RETAIN, **how)


def test_a_linear_model_with_squared_error_in_closed_form():
  x, y = RNG.standard_normal((6, 3)).astype(np.float32), RNG.standard_normal(6).astype(np.float32)
  fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params["w"])
  square = lambda p, b, v: mean((fn(p, b["inputs"]).logits - b["y"]) ** 2, b)
  model, data = Model({"w": jnp.array([1.0, -2.0, 0.5])}, fn=fn), Examples({"x": x, "y": y})
  statistic = curvature.gradient(square)
  f, r = (fold(statistic, model, part) for part in (data[:2], data[2:]))
  w = np.asarray(model.params["w"])
  g = lambda rows: 2 * x[rows].T @ (x[rows] @ w - y[rows]) / len(x[rows])
  want = w * g(slice(2)) - g(slice(2, None)) * g(slice(2)) / 0.3
  np.testing.assert_allclose(curvature.weight_attribution(model.params, f, r, gamma=0.3)["w"], want, rtol=1e-4)


def test_the_limits_of_gamma_are_other_rules():
  assert order(of(gamma=float("inf"))) == order(of(rule="snip"))
  assert order(of(gamma=1e-9)) == order(jax.tree.map(jnp.multiply, FORGET, RETAIN))
  far = of(rule="gauss_newton", gamma=1e9)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), far, of(rule="snip"))
  assert order(of(rule="gradient")) == order(FORGET) and order(of(rule="magnitude")) == order(THETA)
  own = of(rule=lambda theta, f, r, gamma: f - r)
  jax.tree.map(np.testing.assert_array_equal, own, jax.tree.map(jnp.subtract, FORGET, RETAIN))


def test_gauss_newton_is_finite_where_the_retain_gradient_is_zero():
  none = jax.tree.map(jnp.zeros_like, RETAIN)
  found = curvature.weight_attribution(THETA, FORGET, none, rule="gauss_newton")
  jax.tree.map(lambda a, t, f: np.testing.assert_allclose(a, t * f, rtol=1e-6), found, THETA, FORGET)


def test_bad_attributions():
  with pytest.raises(ValueError, match="gamma must be > 0, got 0"):
    of(gamma=0)
  with pytest.raises(ValueError, match="rule must be one of wagle, .*; got 'wanda'"):
    of(rule="wanda")
  with pytest.raises(ValueError, match="retain at 'b' has shape"):
    curvature.weight_attribution(THETA, FORGET, {**RETAIN, "b": jnp.zeros(2)})


def region(forget=FORGET, retain=RETAIN, **how):
  return jax.tree.map(lambda m: bool(m.all()), curvature.tensor_region(forget, retain, **how))


def test_thresholds_at_their_ends():
  assert all(jax.tree.leaves(region(cosine=1.0, magnitude=0.0)))
  with pytest.raises(ValueError, match=r"no tensor has a cosine below -1 and .*: the smallest cosine is .*, the larg"):
    region(cosine=-1.0, magnitude=0.0)
  with pytest.raises(ValueError, match="no tensor"):
    region(retain=FORGET, magnitude=0.0)  # what both sets need in the same way is left alone
  with pytest.raises(ValueError, match=r"cosine must be in \[-1, 1\], got 2"):
    region(cosine=2)


def test_the_scale_of_the_retain_gradient_does_not_matter_and_that_of_the_forget_gradient_does():
  apart = {"a": -RETAIN["a"], "b": RETAIN["b"]}
  scaled = jax.tree.map(lambda x: 1e-3 * x, RETAIN)
  assert region(apart, scaled, cosine=0.5) == region(apart, RETAIN, cosine=0.5) == {"a": True, "b": False}
  with pytest.raises(ValueError, match="no tensor"):
    region(jax.tree.map(lambda x: 1e-6 * x, apart), RETAIN, cosine=0.5)


def test_layers_of_a_stack_are_tensors_of_their_own():
  f = {"blocks": {"q": {"kernel": jnp.ones((2, 3, 3))}, "0": {"kernel": jnp.ones((2, 3))}}}
  r = jax.tree.map(lambda x: x.at[0].set(-1.0), f)
  mask = curvature.tensor_region(f, r, cosine=0.9, magnitude=0.5)["blocks"]
  np.testing.assert_array_equal(mask["q"]["kernel"], np.array([True, False])[:, None, None] & np.ones((2, 3, 3), bool))
  assert mask["0"]["kernel"].all()  # the rows of one matrix are no layers: their cosine together is 0
