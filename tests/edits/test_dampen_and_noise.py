from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from toy_net import batches_of, from_torch, mlp_params, model_of, run, tanh_mlp

from unlearnjax import curvature, edits, objectives

PARAMS = mlp_params()
ABS = lambda seed: jax.tree.map(jnp.abs, mlp_params(seed))


def _equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_golden_multipliers_of_the_card():
  found = edits.ssd(jnp.ones(3), jnp.array([1.0, 1.0, 2.0]), jnp.array([5.0, 20.0, 400.0]), alpha=10, lam=1)
  np.testing.assert_allclose(found, [1, 0.05, 0.005], rtol=1e-6)


def test_alpha_of_infinity_is_the_identity():
  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  _equal(edits.ssd(PARAMS, ABS(1), ABS(2), alpha=float("inf")), PARAMS)
  _equal(edits.ssd(PARAMS, zeros, ABS(2), alpha=float("inf")), PARAMS)


def test_rescaling_both_importances_changes_nothing_and_weights_never_grow():
  found = edits.ssd(PARAMS, ABS(1), ABS(2), alpha=1.5)
  both = [jax.tree.map(lambda x: 8.0 * x, ABS(s)) for s in (1, 2)]
  _equal(found, edits.ssd(PARAMS, *both, alpha=1.5))
  assert all((jnp.abs(a) <= jnp.abs(b)).all() for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(PARAMS)))
  strong = edits.ssd(PARAMS, ABS(1), ABS(2), alpha=0.1, lam=1e9)  # beta is capped at 1
  _equal(strong, PARAMS)


def test_weights_of_zero_importance_survive_and_bfloat16_stays():
  half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
  found = jax.jit(edits.ssd)(half, ABS(1), jax.tree.map(jnp.zeros_like, PARAMS))
  _equal(found, half)


def test_errors_of_ssd():
  with pytest.raises(ValueError, match="alpha must be > 0, got 0"):
    edits.ssd(PARAMS, ABS(1), ABS(2), alpha=0)
  with pytest.raises(ValueError, match="importance_forget must have the structure of params"):
    edits.ssd(PARAMS, ABS(1), ABS(2)["fc"])


@pytest.mark.golden
@pytest.mark.parametrize("size", [1, 8])
def test_golden_weights_after_dampening(size):
  z = golden("ssd")
  params = from_torch(z, "in_w0__")
  statistic = curvature.fisher_diag(objectives.cross_entropy(tanh_mlp, train=False), kind="batch_mean", batch_size=size)
  importance = lambda d: run(
    statistic,
    model_of(params, tanh_mlp),
    batches_of(z[f"in_x{d}"].astype(np.float32), z[f"in_y{d}"].astype(np.int32), size),
  )
  found = edits.ssd(params, importance("r"), importance("f"), alpha=1.5, lam=1.0)
  want = from_torch(z, f"out_bs{size}_w1__")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), found, want)
  assert any((a != b).any() for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params)))


def test_noise_variances_follow_the_published_rules():
  alpha, fisher = 1e-3, ABS(3)
  mean, variance = edits.noise_moments(PARAMS, fisher, alpha=alpha)
  _equal(mean, PARAMS)
  inverse = lambda f, top: np.minimum(1 / (np.asarray(f) + 1e-8), top)
  body = alpha * inverse(fisher["fc"]["kernel"], 1e3).mean(0, keepdims=True)
  np.testing.assert_allclose(variance["fc"]["kernel"], np.broadcast_to(body, (6, 16)), rtol=1e-5)
  np.testing.assert_allclose(variance["fc"]["bias"], 10 * alpha * inverse(fisher["fc"]["bias"], 1e3), rtol=1e-5)
  head = 10 * alpha * inverse(fisher["head"]["kernel"], 1e2).mean(0, keepdims=True)
  np.testing.assert_allclose(variance["head"]["kernel"], np.broadcast_to(head, (16, 4)), rtol=1e-5)
  np.testing.assert_allclose(variance["head"]["bias"], 10 * alpha * inverse(fisher["head"]["bias"], 1e2), rtol=1e-5)


def test_a_class_removed_whole_is_drawn_around_zero():
  mean, variance = edits.noise_moments(PARAMS, ABS(3), alpha=1e-6, forget_class=2)
  assert not mean["head"]["kernel"][:, 2].any() and mean["head"]["bias"][2] == 0
  np.testing.assert_allclose(variance["head"]["kernel"][:, 2], 1e-3, rtol=1e-5)
  np.testing.assert_array_equal(mean["head"]["kernel"][:, :2], PARAMS["head"]["kernel"][:, :2])


def test_noise_has_these_moments_and_alpha_zero_is_the_identity():
  fisher = ABS(3)
  _equal(edits.fisher_noise(PARAMS, fisher, jax.random.key(0), alpha=0.0), PARAMS)
  draw = jax.jit(jax.vmap(lambda k: edits.fisher_noise(PARAMS, fisher, k, alpha=1e-2)))
  many = draw(jax.random.split(jax.random.key(1), 4000))
  mean, variance = edits.noise_moments(PARAMS, fisher, alpha=1e-2)
  for x, m, v in zip(*(jax.tree.leaves(t) for t in (many, mean, variance))):
    np.testing.assert_allclose(x.std(0), np.sqrt(v), rtol=0.1)
    np.testing.assert_allclose((x.mean(0) - m) / np.sqrt(v / 4000), 0, atol=5)


def test_convolution_kernels_share_a_variance_over_their_input_channels():
  params = {"conv": {"kernel": jnp.ones((3, 3, 5, 2))}, "head": {"kernel": jnp.ones((2, 2))}}
  fisher = jax.tree.map(lambda p: jnp.asarray(np.random.default_rng(0).uniform(size=p.shape), jnp.float32), params)
  variance = edits.noise_moments(params, fisher, alpha=1.0)[1]["conv"]["kernel"]
  want = np.minimum(1 / (np.asarray(fisher["conv"]["kernel"]) + 1e-8), 1e3).mean(2, keepdims=True)
  np.testing.assert_allclose(variance, np.broadcast_to(want, (3, 3, 5, 2)), rtol=1e-5)
  with pytest.raises(ValueError, match="head must be a sub-tree of the parameters, got 'classifier'"):
    edits.noise_moments(params, fisher, alpha=1.0, head="classifier")


def test_information_is_a_divergence():
  v = jax.tree.map(lambda p: jnp.abs(p) + 0.1, PARAMS)
  assert edits.gaussian_information(PARAMS, v, PARAMS, v) == 0
  twice = jax.tree.map(lambda x: 2 * x, v)
  size = sum(p.size for p in jax.tree.leaves(PARAMS))
  np.testing.assert_allclose(
    edits.gaussian_information(PARAMS, twice, PARAMS, v), 0.5 * size * (2 - np.log(2) - 1), rtol=1e-4
  )
