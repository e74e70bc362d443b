from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import losses

RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(np.abs(RNG.normal(size=(7, 5))), jnp.float32)
PROTOTYPES = jnp.asarray(RNG.normal(size=(4, 5)), jnp.float32)
LABELS = jnp.array([0, 1, 2, 3, 0, 1, 2])


def test_distance_to_the_own_direction_is_zero_at_any_length():
  np.testing.assert_allclose(losses.cosine_distance(FEATURES, 7.5 * FEATURES), 0, atol=1e-6)
  np.testing.assert_allclose(losses.cosine_distance(FEATURES, -FEATURES), 2, atol=1e-6)


def test_zero_vectors_give_finite_gradients():
  zero = jnp.zeros((1, 5))
  gradient = jax.grad(lambda z: losses.cosine_distance(z, FEATURES[:1]).sum())(zero)
  assert np.isfinite(gradient).all()
  gradient = jax.grad(
    lambda z: losses.mahalanobis_squared(z, PROTOTYPES, jnp.stack([jnp.eye(5)] * 4), jnp.array([0])).sum()
  )(zero)
  assert np.isfinite(gradient).all()


def test_prototype_distance_picks_the_target_row():
  found = losses.prototype_distance(FEATURES, PROTOTYPES, LABELS)
  want = [1 - f @ p / np.linalg.norm(f) / np.linalg.norm(p) for f, p in zip(FEATURES, PROTOTYPES[LABELS])]
  np.testing.assert_allclose(found, want, atol=1e-6)


def test_the_nearest_wrong_prototype_is_never_the_true_one_and_rows_are_labels():
  own = PROTOTYPES[LABELS]  # features that sit on their own prototype
  found = losses.nearest_wrong_prototype(own, PROTOTYPES, LABELS)
  assert not np.any(found == LABELS)
  cosine = np.asarray(losses.cosine_distance(own[:, None] + 0 * PROTOTYPES, PROTOTYPES[None] + 0 * own[:, None]))
  for row, label, k in zip(cosine, LABELS, found):
    assert k == min((c for c in range(4) if c != label), key=lambda c: row[c])
  absent = jnp.array([True, False, True, True])
  assert not np.any(losses.nearest_wrong_prototype(own, PROTOTYPES, LABELS, absent) == 1)


def test_mahalanobis_with_identity_and_no_transform_is_a_squared_distance():
  eye = jnp.stack([jnp.eye(5)] * 4)
  unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  want = jnp.sum((unit(FEATURES) - unit(PROTOTYPES)[LABELS]) ** 2, -1)
  found = losses.mahalanobis_squared(FEATURES, PROTOTYPES, eye, LABELS, power=1.0)
  np.testing.assert_allclose(found, want, rtol=1e-5)


def test_distances_to_all_classes_hold_the_distances_to_targets():
  root = jnp.asarray(RNG.normal(size=(4, 5, 5)), jnp.float32)
  precision = root @ root.swapaxes(1, 2)
  every = losses.mahalanobis_squared(FEATURES, PROTOTYPES, precision)
  one = losses.mahalanobis_squared(FEATURES, PROTOTYPES, precision, LABELS)
  np.testing.assert_allclose(jnp.take_along_axis(every, LABELS[:, None], 1)[:, 0], one, rtol=1e-4)


def test_tukey_is_the_power_with_a_finite_slope_at_zero():
  np.testing.assert_allclose(losses.tukey(FEATURES), np.sqrt(FEATURES), rtol=1e-6)
  assert jax.grad(lambda z: losses.tukey(z).sum())(jnp.zeros(3)).tolist() == [0, 0, 0]
  with pytest.raises(ValueError, match=r"power must be in \(0, 1\], got 0"):
    losses.tukey(FEATURES, 0)


def test_attention_transfer_ignores_scale_and_channels():
  a = jnp.asarray(RNG.normal(size=(3, 4, 4, 6)), jnp.float32)
  np.testing.assert_allclose(losses.attention_transfer(a, 5 * a), 0, atol=1e-10)
  repeated = jnp.concatenate([a, a], axis=-1)
  np.testing.assert_allclose(losses.attention_transfer(a, repeated), 0, atol=1e-10)
  assert (losses.attention_transfer(a, a[:, ::-1]) > 0).all()
  np.testing.assert_allclose(jnp.linalg.norm(losses.attention_map(a), axis=-1), 1, rtol=1e-5)


def test_errors_name_what_does_not_fit():
  with pytest.raises(ValueError, match=r"prototypes must be \[C, d\] = \[C, 5\], got shape \(4, 3\)"):
    losses.prototype_distance(FEATURES, PROTOTYPES[:, :3], LABELS)
  with pytest.raises(ValueError, match=r"precisions must be \[C, d, d\]"):
    losses.mahalanobis_squared(FEATURES, PROTOTYPES, jnp.eye(5), LABELS)
  with pytest.raises(ValueError, match=r"activations must be \[B, positions..., channels\]"):
    losses.attention_map(FEATURES)
