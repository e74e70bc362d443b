from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden

from unlearnjax import losses

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (jnp.asarray(RNG.normal(size=(8, 5)), jnp.float32) for _ in range(2))
OLD = jnp.array([True, True, True, False, False])


def test_distillation_has_the_reference_value():
  z = golden("mammoth_cl")
  logits = lambda name: jnp.log(jnp.asarray(z[name]))
  found = losses.distill_cross_entropy(logits("in_lwf_new"), logits("in_lwf_old"), 2.0)
  assert float(found.mean()) == pytest.approx(float(z["out_lwf_kd"]), rel=1e-6)


def test_at_the_teacher_the_gradient_is_zero_and_the_value_an_entropy():
  f = lambda z: losses.distill_cross_entropy(z, TEACHER, 2.0, OLD).sum()
  q = jax.nn.softmax(TEACHER[:, :3] / 2)
  assert float(f(TEACHER)) == pytest.approx(float(-(q * jnp.log(q)).sum()), rel=1e-5)
  assert jnp.abs(jax.grad(f)(TEACHER)).max() < 1e-6
  slope = jax.grad(f)(STUDENT)
  np.testing.assert_allclose(slope[:, :3], (jax.nn.softmax(STUDENT[:, :3] / 2) - q) / 2, atol=1e-6)
  assert not jnp.any(slope[:, 3:])


def test_a_row_without_old_classes_costs_nothing_and_stays_finite():
  rows = jnp.stack([OLD, jnp.zeros(5, bool)])
  value, slope = jax.value_and_grad(lambda z: losses.distill_cross_entropy(z, TEACHER[:2], 2.0, rows).sum())(
    STUDENT[:2]
  )
  assert float(value) == pytest.approx(float(losses.distill_cross_entropy(STUDENT[:1], TEACHER[:1], 2.0, OLD)[0]))
  assert jnp.isfinite(slope).all() and not jnp.any(slope[1])


def test_high_temperature_matches_centred_logits():
  f = lambda z: losses.distill_cross_entropy(z, TEACHER, 1000.0)[0]
  centre = lambda z: z[0] - z[0].mean()
  np.testing.assert_allclose(1e6 * jax.grad(f)(STUDENT)[0], (centre(STUDENT) - centre(TEACHER)) / 5, atol=1e-2)


def test_one_question_a_class():
  labels = jnp.asarray(RNG.integers(3, 5, 8))
  plain = losses.one_vs_all(STUDENT, labels, jnp.ones(5, bool))
  want = 5 * losses.binary_cross_entropy(STUDENT, jax.nn.one_hot(labels, 5))
  np.testing.assert_allclose(plain, want, rtol=1e-5)
  both = lambda z: losses.one_vs_all(z, labels, jnp.ones(5, bool), teacher_logits=TEACHER, old=OLD).sum()
  at_old = jnp.where(OLD, TEACHER, STUDENT)
  assert jnp.abs(jax.grad(both)(at_old)[:, :3]).max() < 1e-6  # as the teacher answers, so it stays
  np.testing.assert_allclose(jax.grad(both)(STUDENT)[:, 3:], jax.grad(lambda z: losses.one_vs_all(
    z, labels, jnp.ones(5, bool)).sum())(STUDENT)[:, 3:], atol=1e-6)  # fmt: skip
  only_new = jax.grad(lambda z: losses.one_vs_all(z, labels, ~OLD).sum())(STUDENT)
  assert not jnp.any(only_new[:, :3]) and jnp.all(only_new[:, 3:])
  with pytest.raises(ValueError, match="takes teacher_logits and old together"):
    losses.one_vs_all(STUDENT, labels, OLD, old=OLD)
