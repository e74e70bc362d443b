from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import objectives, updates
from unlearnjax.core import UnlearnState, descend

A = jnp.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
THETA = jnp.array([1.0, -2.0, 0.5])
QUADRATIC = lambda p: 0.5 * p @ A @ p
GRADIENT = A @ THETA


def _draws(tx, loss=QUADRATIC, count=4000):
  """The estimates of many steps."""
  one = lambda key: tx.update(THETA, tx.init(THETA), THETA, value_fn=loss, view=view()._replace(rng=key))[0]
  return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), count)))


@pytest.mark.parametrize("epsilon", [0.01, 1.0])
@pytest.mark.parametrize("distribution", ["normal", "rademacher"])
def test_spsa_is_unbiased_on_a_quadratic_whatever_epsilon(epsilon, distribution):
  found = _draws(updates.spsa(epsilon=epsilon, distribution=distribution))
  np.testing.assert_allclose(found.mean(0), GRADIENT, atol=4 * found.std() / np.sqrt(len(found)))


def test_the_variance_is_that_of_gaussian_directions_and_falls_with_samples():
  square = float(GRADIENT @ GRADIENT)
  one, four = _draws(updates.forward_gradient()), _draws(updates.forward_gradient(samples=4))
  assert one.var(0).sum() == pytest.approx((len(THETA) + 1) * square, rel=0.15)
  assert four.var(0).sum() == pytest.approx(one.var(0).sum() / 4, rel=0.2)
  np.testing.assert_allclose(four.mean(0), GRADIENT, atol=4 * four.std() / np.sqrt(len(four)))


def test_a_sparse_direction_gives_the_masked_gradient():
  found = _draws(updates.forward_gradient(keep=0.5, distribution="rademacher"))
  moves = np.any(found != 0, axis=0)
  np.testing.assert_allclose(found.mean(0), np.where(moves, GRADIENT, 0), atol=0.25)
  every = {"w": jnp.ones(4000)}
  g, _ = updates.spsa(keep=0.3).update(every, (), every, value_fn=lambda p: p["w"].sum(), view=view())
  assert float(jnp.mean(g["w"] != 0)) == pytest.approx(0.3, abs=0.03)


def test_the_sign_of_the_directional_derivative_keeps_the_length_of_the_direction():
  found = _draws(updates.spsa(directional_sign=True, distribution="rademacher"), count=50)
  assert set(np.abs(found).ravel().tolist()) == {1.0} and (found @ np.asarray(GRADIENT) > 0).all()


def test_conservative_never_raises_the_loss_of_its_batch():
  tx = updates.conservative(optax.sgd(1.0))
  for gradient, better in ((10 * GRADIENT, False), (0.1 * GRADIENT, True), (-0.1 * GRADIENT, True)):
    moved, _ = tx.update(gradient, tx.init(THETA), THETA, value_fn=QUADRATIC)
    after = QUADRATIC(THETA + moved)
    assert after <= QUADRATIC(THETA) and bool(after < QUADRATIC(THETA)) == better
  moved, _ = tx.update(GRADIENT, tx.init(THETA), THETA, value_fn=lambda p: jnp.where(p[0] == 1, 1.0, jnp.nan))
  assert not jnp.any(moved)


def test_a_step_learns_and_runs_no_backward_pass():
  batch, params = random_role(size=64), mlp_params()
  xent = objectives.cross_entropy(mlp)
  for tx, backward in ((optax.sgd(0.1), True), (optax.chain(updates.forward_gradient(), optax.sgd(0.01)), False)):
    step = descend({"current": xent}, tx)
    state = step.init(UnlearnState.create(params, rng=jax.random.key(0)))
    update = jax.jit(step.update).lower(state, {"current": batch}, {}).compile()
    assert ("transpose(jvp" in update.as_text()) == backward  # the name that differentiation gives to its operations
    before = None
    for _ in range(60):
      state, info = update(state, {"current": batch}, {})
      before = info["loss"] if before is None else before
    assert info["loss"] < before - 0.05


def test_bad_arguments_of_zeroth_order_rules_are_named():
  with pytest.raises(ValueError, match="distribution must be one of normal, rademacher; got 'cauchy'"):
    updates.spsa(distribution="cauchy")
  with pytest.raises(ValueError, match="samples must be > 0, got 0"):
    updates.forward_gradient(samples=0)
  with pytest.raises(ValueError, match=r"keep must be in \(0, 1\], got 0"):
    updates.spsa(keep=0.0)
  with pytest.raises(ValueError, match="spsa needs params, value_fn and view"):
    updates.spsa().update(THETA, (), THETA, view=view())
  with pytest.raises(ValueError, match="conservative needs params and value_fn"):
    updates.conservative(optax.sgd(0.1)).update(THETA, (), THETA)
