"""Losses of single methods: LAF, boundary unlearning, JiT, penalties."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import losses

RNG = np.random.default_rng(0)
draw = lambda *shape: jnp.asarray(RNG.normal(size=shape), jnp.float32)


def test_vae_of_a_standard_normal_code_is_reconstruction_alone():
  x, out = draw(4, 6), draw(4, 6)
  zero = jnp.zeros((4, 2))
  np.testing.assert_allclose(losses.vae(out, x, zero, zero), jnp.sum((x - out) ** 2, -1), rtol=1e-6)


def test_gaussian_kl_is_the_textbook_formula():
  mean, log_variance = draw(4, 3), draw(4, 3)
  want = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), -1)
  np.testing.assert_allclose(losses.gaussian_kl(mean, log_variance), want, rtol=1e-5)
  total = losses.vae(mean, mean, mean, log_variance, kl_weight=0.5)
  np.testing.assert_allclose(total, 0.5 * want, rtol=1e-5)


def test_bounded_reconstruction_lies_in_one_to_e():
  x = draw(5, 3)
  assert losses.bounded_reconstruction(x, x).tolist() == [1.0] * 5
  far = losses.bounded_reconstruction(x, x + 1e4)
  assert (far <= np.e + 1e-6).all() and (far > 2.7).all()


def test_alignment_of_an_unchanged_model_is_minus_log_of_the_forget_batch():
  found = losses.contrastive_alignment(jnp.zeros(3), jnp.zeros(7), 5.0)
  np.testing.assert_allclose(found, -np.log(7), rtol=1e-6)
  some = losses.contrastive_alignment(jnp.zeros(3), jnp.zeros(7), 5.0, jnp.arange(7) < 4)
  np.testing.assert_allclose(some, -np.log(4), rtol=1e-6)


def test_alignment_equals_the_published_quotient():
  c, f, t = jnp.abs(draw(3)), jnp.abs(draw(4)), 5.0
  want = jnp.log(jnp.exp(c) / jnp.sum(jnp.exp(f / t)))
  np.testing.assert_allclose(losses.contrastive_alignment(c, f, t), want, rtol=1e-5)


def test_probability_margin_compares_with_the_best_other_class():
  logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]] * 3))
  found = losses.probability_margin(logits, jnp.array([0, 1, 2]))
  np.testing.assert_allclose(found, [-0.2, 0.2, 0.3], atol=1e-6)


def test_margin_weights_have_no_gradient_and_stay_below_their_scale():
  logits, labels = draw(6, 4), jnp.zeros(6, jnp.int32)
  weights = losses.margin_weights(logits, labels)
  assert ((weights > 0) & (weights < 3)).all()
  assert not jax.grad(lambda z: losses.margin_weights(z, labels).sum())(logits).any()


def test_curvature_gap_is_a_norm_over_valid_rows_with_a_finite_gradient():
  k = jnp.abs(draw(4))
  assert losses.curvature_gap(k, k) == 0
  assert np.isfinite(jax.grad(lambda c: losses.curvature_gap(k, c))(k)).all()
  moved = k + jnp.array([3.0, 4.0, 100.0, 0.0])
  valid = jnp.array([True, True, False, True])
  np.testing.assert_allclose(losses.curvature_gap(k, moved, valid), 5 / 3, rtol=1e-5)


def test_lipschitz_ratio_of_a_linear_map_is_its_gain():
  x = draw(5, 3)
  noisy = x + 0.1 * draw(5, 3)
  np.testing.assert_allclose(losses.lipschitz_ratio(4 * x, 4 * noisy, x, noisy), 4, rtol=1e-4)
  assert losses.lipschitz_ratio(x, noisy, x, x).tolist() == [0.0] * 5
  assert not jax.grad(lambda z: losses.lipschitz_ratio(4 * x, z, x, noisy).sum())(4 * noisy).any()
  assert np.isfinite(jax.grad(lambda z: losses.lipschitz_ratio(z, x, x, x).sum())(x)).all()


def test_penalties_and_their_gradients():
  params = {"a": jnp.array([3.0, -4.0]), "b": jnp.zeros(2)}
  assert losses.l1_norm(params) == 7
  assert jax.grad(losses.l1_norm)(params)["a"].tolist() == [1, -1]
  assert jax.grad(losses.l1_norm)(params)["b"].tolist() == [0, 0]
  reference = jax.tree.map(jnp.zeros_like, params)
  assert losses.squared_distance(params, reference) == 25
  assert losses.l2_distance(params, reference) == 5
  assert jax.grad(losses.l2_distance)(params, params)["a"].tolist() == [0, 0]
  assert not jax.grad(losses.squared_distance, 1)(params, reference)["a"].any()
  with pytest.raises(ValueError, match="reference must have the structure of params"):
    losses.squared_distance(params, {"a": jnp.zeros(2)})
