from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import losses

TEACHER = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
UNIFORM = jnp.zeros((1, 3))
RNG = np.random.default_rng(0)
A, B, C = (jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32) for _ in range(3))


def _kl(p, q):
  return np.sum(p * (np.log(p) - np.log(q)), -1)


def test_golden_value_of_the_stochastic_teacher():
  np.testing.assert_allclose(losses.distill_kl(UNIFORM, TEACHER), [0.068959], atol=1e-6)


@pytest.mark.parametrize("t", [1.0, 2.0, 4.0])
def test_it_is_the_tempered_kl_times_t_squared(t):
  p, q = jax.nn.softmax(B / t), jax.nn.softmax(A / t)
  np.testing.assert_allclose(losses.distill_kl(A, B, t), t**2 * _kl(p, q), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(losses.reverse_distill_kl(A, B, t), t**2 * _kl(q, p), rtol=1e-4, atol=1e-5)


def test_the_gradient_in_the_student_is_t_times_the_difference_of_probabilities():
  t = 3.0
  gradient = jax.grad(lambda z: losses.distill_kl(z, B, t).sum())(A)
  np.testing.assert_allclose(gradient, t * (jax.nn.softmax(A / t) - jax.nn.softmax(B / t)), atol=1e-6)


def test_a_student_that_equals_its_teacher_has_zero_loss_and_exactly_zero_gradient():
  for loss in (losses.distill_kl, losses.reverse_distill_kl):
    value, gradient = jax.value_and_grad(lambda z, loss=loss: loss(z, A).sum())(A)
    assert value == 0
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


def test_the_teacher_receives_no_gradient():
  for loss in (losses.distill_kl, losses.reverse_distill_kl):
    assert not jax.grad(lambda z, loss=loss: loss(A, z).sum())(B).any()
  assert not jax.grad(lambda p: losses.kl_to_probs(A, p).sum())(jax.nn.softmax(B)).any()


def test_bad_teacher_takes_the_bad_teacher_on_forget_rows_only():
  u = jnp.array([True, True, False, False, True, False])
  want = jnp.where(u, losses.distill_kl(A, C), losses.distill_kl(A, B))
  np.testing.assert_allclose(losses.bad_teacher_kl(A, B, C, u), want, rtol=1e-5)
  element = losses.bad_teacher_kl(A, B, C, u, compat="element_mean")
  np.testing.assert_allclose(element * 3, want, rtol=1e-5)
  assert np.allclose(losses.bad_teacher_kl(A, A, C, jnp.zeros(6)), 0, atol=1e-6)


def test_kl_to_probs_handles_zeros_and_the_offset():
  probs = jnp.array([[1.0, 0.0, 0.0]])
  np.testing.assert_allclose(losses.kl_to_probs(UNIFORM, probs), [np.log(3)], rtol=1e-6)
  same = losses.kl_to_probs(A, jax.nn.softmax(A), offset=1e-4)
  np.testing.assert_allclose(same, 0, atol=1e-6)


def test_suppressed_classes_get_the_smallest_valid_logit():
  valid = jnp.array([True] * 5 + [False])
  logits = A.at[5].set(-100.0)
  found = losses.suppress_classes(logits, jnp.array([False, True, False]), valid)
  np.testing.assert_array_equal(found[:, 1], np.full(6, A[:5].min()))
  np.testing.assert_array_equal(found[:, ::2], logits[:, ::2])
  assert np.isfinite(losses.suppress_classes(logits, jnp.array([True] * 3), jnp.zeros(6, bool))).all()


def test_errors_name_what_does_not_fit():
  with pytest.raises(ValueError, match=r"teacher_logits must have the shape of student_logits \(6, 3\), got \(1, 3\)"):
    losses.distill_kl(A, TEACHER)
  with pytest.raises(ValueError, match="compat must be one of"):
    losses.bad_teacher_kl(A, B, C, jnp.zeros(6), compat="mean")
  with pytest.raises(ValueError, match=r"forget must be \[B\] = \[6\]"):
    losses.bad_teacher_kl(A, B, C, jnp.zeros((6, 1)))
  with pytest.raises(ValueError, match="temperature must be > 0"):
    losses.distill_kl(A, B, -1.0)
