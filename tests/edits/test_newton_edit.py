from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from toy_net import batches_of, from_torch, linear, mlp_params, model_of, role, run, tanh_mlp, view

from unlearnjax import curvature, edits, objectives

RNG = np.random.default_rng(0)
N, D, OUT, WD = 40, 5, 2, 0.3
X, Y = RNG.normal(size=(N, D)), RNG.normal(size=(N, OUT))
RETAIN = np.arange(N) >= 12


def _ridge(keep):
  """argmin (1/n) sum |x w - y|^2 / 2 + WD |w|^2 / 2."""
  x, y = X[keep], Y[keep]
  return np.linalg.solve(x.T @ x + len(x) * WD * np.eye(D), x.T @ y)


def _loss_gradient_sum(w, keep):
  return {"kernel": jnp.asarray(X[keep].T @ (X[keep] @ w - Y[keep]), jnp.float32)}


def test_on_ridge_regression_it_is_retraining():
  w = _ridge(np.ones(N, bool))
  params = {"kernel": jnp.asarray(w, jnp.float32)}
  xr = jnp.asarray(X[RETAIN], jnp.float32)
  product = lambda v: {"kernel": xr.T @ (xr @ v["kernel"]) / len(xr)}
  solve = lambda v: curvature.cg(product, v, damping=WD, tolerance=1e-9)[0]
  found = edits.newton(params, _loss_gradient_sum(w, ~RETAIN), _loss_gradient_sum(w, RETAIN), solve, 12, 28)
  np.testing.assert_allclose(found["kernel"], _ridge(RETAIN), atol=1e-5)


def test_no_gradient_and_no_step_change_nothing():
  params = mlp_params()
  zeros = jax.tree.map(jnp.zeros_like, params)
  for f, alpha in ((zeros, 1.0), (params, 0.0)):
    found = edits.newton(params, f, zeros, lambda v: v, 3, 5, alpha)
    jax.tree.map(np.testing.assert_array_equal, found, params)
  with pytest.raises(ValueError, match="n_retain must be > 0, got 0"):
    edits.newton(params, zeros, zeros, lambda v: v, 3, 0)


@pytest.mark.golden
def test_golden_influence_unlearning():
  z = golden("influence_fisher_leace")
  params = from_torch(z, "in_w__")
  xent = objectives.cross_entropy(tanh_mlp, train=False)
  data = {d: (z[f"in_x{d}"], z[f"in_y{d}"].astype(np.int32)) for d in "rf"}
  total = {
    d: run(curvature.gradient(xent, reduce="sum"), model_of(params, tanh_mlp), batches_of(*data[d], 16)) for d in "rf"
  }
  each = curvature.per_example_gradients(xent, params, role(data["r"][0], y=data["r"][1]), view())
  solve = functools.partial(curvature.woodfisher, each, count=1000, compat="rank2")
  found = edits.newton(params, total["f"], total["r"], solve, 8, 30, alpha=2.0)
  want = from_torch(z, "out_iu_w__")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, want)


def test_ntk_scrubbing_of_a_linear_model_from_zero_is_retraining():
  params = {"kernel": jnp.asarray(_ridge(np.ones(N, bool)), jnp.float32)}
  jacobian = curvature.logit_jacobian(linear, {"kernel": jnp.zeros((D, OUT))}, {"x": jnp.asarray(X, jnp.float32)})
  scrub = jax.jit(lambda keep: edits.ntk_scrub(params, jacobian, -jnp.asarray(Y, jnp.float32), keep, WD))
  np.testing.assert_allclose(scrub(jnp.asarray(RETAIN))["kernel"], _ridge(RETAIN), atol=1e-4)
  unchanged = scrub(jnp.ones(N, bool))
  np.testing.assert_allclose(unchanged["kernel"], params["kernel"], atol=1e-6)


def test_the_trapezium_scale_is_one_for_a_step_without_error_along_it():
  step = {"a": jnp.array([2.0, 0.0]), "b": jnp.array([1.0])}
  across = {"a": jnp.array([0.0, 9.0]), "b": jnp.array([0.0])}
  assert edits.trapezium_scale(step, across) == 1
  for sign in (1, -1):
    along = jax.tree.map(lambda s, sign=sign: 0.25 * sign * s, step)
    np.testing.assert_allclose(edits.trapezium_scale(step, along), 1.5, rtol=1e-6)
