from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from unlearnjax import losses

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
LABELS = jnp.array([0, 3, 1, 1, 2])


def test_cross_entropy_agrees_with_optax_at_any_temperature():
  for t in (1.0, 2.5):
    want = optax.softmax_cross_entropy_with_integer_labels(LOGITS / t, LABELS)
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS, t), want, rtol=1e-6)


def test_cross_entropy_gradient_is_probability_minus_one_hot():
  gradient = jax.grad(lambda z: losses.cross_entropy(z, LABELS).sum())(LOGITS)
  np.testing.assert_allclose(gradient, jax.nn.softmax(LOGITS) - jax.nn.one_hot(LABELS, 4), atol=1e-6)


def test_soft_cross_entropy_of_one_hot_labels_is_cross_entropy():
  want = losses.cross_entropy(LOGITS, LABELS)
  np.testing.assert_allclose(losses.soft_cross_entropy(LOGITS, jax.nn.one_hot(LABELS, 4)), want, rtol=1e-6)


def test_a_label_that_is_no_class_gives_nan_rather_than_a_number():
  loss = losses.cross_entropy(LOGITS, jnp.array([0, 1, 2, 4, -1]))
  assert np.isfinite(loss[:3]).all() and np.isnan(loss[3:]).all()


def test_cross_entropy_of_bfloat16_logits_is_computed_in_float32():
  loss = losses.cross_entropy(LOGITS.astype(jnp.bfloat16), LABELS)
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, losses.cross_entropy(LOGITS, LABELS), atol=0.03)


def test_shape_errors_name_the_argument_under_jit():
  with pytest.raises(ValueError, match=r"logits must be \[B, C\], got shape \(4,\)"):
    jax.jit(losses.cross_entropy)(LOGITS[0], LABELS)
  with pytest.raises(ValueError, match=r"labels must be int\[B\] = int\[5\], got shape \(4,\)"):
    jax.jit(losses.cross_entropy)(LOGITS, LABELS[:4])
  with pytest.raises(ValueError, match="labels must be integers, got float32"):
    losses.cross_entropy(LOGITS, LABELS.astype(jnp.float32))
  with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
    losses.cross_entropy(LOGITS, LABELS, 0)
  with pytest.raises(ValueError, match="targets must have the shape"):
    losses.squared_error(jnp.ones((3, 2)), jnp.ones(3))


def test_regression_errors_do_not_broadcast_columns_against_rows():
  predictions, targets = jnp.array([[1.0], [2.0]]), jnp.array([3.0, 5.0])
  assert losses.squared_error(predictions, targets).tolist() == [4.0, 9.0]
  assert losses.absolute_error(targets, predictions).tolist() == [2.0, 3.0]


def test_binary_cross_entropy_agrees_with_optax():
  targets = (LOGITS > 0.3).astype(jnp.int32)
  want = optax.sigmoid_binary_cross_entropy(LOGITS, targets).mean(-1)
  np.testing.assert_allclose(losses.binary_cross_entropy(LOGITS, targets), want, rtol=1e-6)


def test_unlikelihood_is_minus_log_of_one_minus_p_and_bounded_by_its_offset():
  p = jnp.take_along_axis(jax.nn.softmax(LOGITS), LABELS[:, None], 1)[:, 0]
  np.testing.assert_allclose(losses.unlikelihood(LOGITS, LABELS), -jnp.log1p(-p), rtol=1e-5)
  sure = jnp.array([[200.0, 0.0]])
  np.testing.assert_allclose(losses.unlikelihood(sure, jnp.array([0]), 0.05), -np.log(0.05), rtol=1e-5)
  gradient = jax.grad(lambda z: losses.unlikelihood(z, jnp.array([0]))[0])(sure)
  assert np.isfinite(gradient).all()


def test_entropy_lies_between_zero_and_log_c():
  found = losses.entropy(jnp.array([[0.0, 0.0, 0.0], [90.0, 0.0, 0.0]]))
  np.testing.assert_allclose(found, [np.log(3), 0.0], atol=1e-6)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.unlikelihood])
def test_gradients_match_finite_differences(loss):
  check_grads(lambda z: loss(z, LABELS).sum(), (LOGITS,), order=1, modes=("rev",), atol=1e-2, rtol=1e-2)
