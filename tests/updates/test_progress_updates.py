"""Schedules by progress, noise, sharpness-aware steps, projections."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import objectives, updates
from unlearnjax.core.descend import descend
from unlearnjax.core.state import UnlearnState

PARAMS, BATCH = mlp_params(), random_role()


def _update(tx, gradient, **extra):
  return tx.update(gradient, tx.init(gradient), **extra)[0]


@pytest.mark.parametrize("length", [10, 100, 1000])
def test_schedules_depend_on_the_fraction_done_and_not_on_the_length(length):
  # float32, as a plan computes it
  progress = [jnp.float32(step) / length for step in range(length)]
  decay = np.array([updates.step_decay((0.5, 0.8, 0.9), 0.1)(p) for p in progress[:: length // 10]])
  np.testing.assert_allclose(decay, [1] * 5 + [0.1] * 3 + [0.01, 0.001], rtol=1e-5)
  stairs = np.array([updates.linear_decay(stairs=10)(p) for p in progress[:: length // 10]])
  np.testing.assert_allclose(stairs, 1 - np.arange(10) / 10, atol=1e-6)


def test_the_l1_ramp_ends_at_alpha_over_e_and_is_zero_for_the_last_epochs():
  alpha, epochs, quiet = 5e-4, 10, 2
  ramp = updates.linear_decay(until=1 - quiet / epochs, stairs=epochs)
  found = [alpha * float(ramp(epoch / epochs + 0.05)) for epoch in range(epochs)]
  want = [alpha * (1 - epoch / (epochs - quiet)) if epoch < epochs - quiet else 0.0 for epoch in range(epochs)]
  np.testing.assert_allclose(found, want, atol=1e-9)
  assert np.isclose(alpha * float(updates.linear_decay(stairs=epochs)(0.95)), alpha / epochs)


def test_by_progress_scales_after_the_optimizer():
  tx = optax.chain(optax.sgd(1.0), updates.by_progress(updates.cosine(final=0.5)))
  found = [float(_update(tx, jnp.ones(()), view=view(progress=p))) for p in (0.0, 0.5, 1.0)]
  np.testing.assert_allclose(found, [-1.0, -0.75, -0.5], atol=1e-6)
  with pytest.raises(ValueError, match="by_progress reads view.progress"):
    _update(tx, jnp.ones(()))


def test_noise_is_that_of_the_step_and_differs_between_leaves():
  tx = updates.noise(0.5)
  zeros = jax.tree.map(jnp.zeros_like, {"a": jnp.ones(4000), "b": jnp.ones(4000)})
  first, again, other = (_update(tx, zeros, view=view(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first["a"], again["a"])
  assert not np.array_equal(first["a"], other["a"]) and not np.array_equal(first["a"], first["b"])
  np.testing.assert_allclose(first["a"].std(), 0.5, rtol=0.05)
  np.testing.assert_array_equal(_update(updates.noise(0.0), PARAMS, view=view())["fc"]["bias"], PARAMS["fc"]["bias"])
  with pytest.raises(ValueError, match="noise draws from view.rng"):
    _update(tx, zeros)


def test_sam_hands_the_optimizer_the_gradient_at_the_worst_neighbour():
  objective = objectives.cross_entropy(mlp)
  value_fn = lambda p: objective(p, BATCH, view())[0]
  gradient = jax.grad(value_fn)(PARAMS)
  size = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(gradient)))
  want = jax.grad(value_fn)(jax.tree.map(lambda p, g: p + 0.3 * g / size, PARAMS, gradient))
  tx = updates.sam(optax.sgd(1.0), rho=0.3)
  found, _ = tx.update(gradient, tx.init(PARAMS), PARAMS, value_fn=value_fn, grad=gradient, view=view())
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, rtol=1e-4, atol=1e-6), found, want)


def test_sam_runs_in_a_descend_and_a_tiny_radius_is_the_plain_step():
  def after(tx):
    step = descend({"retain": objectives.cross_entropy(mlp)}, tx)
    state = step.init(UnlearnState.create(PARAMS, rng=jax.random.key(0)))
    return jax.jit(step.update)(state, {"retain": BATCH}, {})[0].params

  plain, near, far = (
    after(optax.adam(0.1)),
    after(updates.sam(optax.adam(0.1), 1e-6)),
    after(updates.sam(optax.adam(0.1), 5.0)),
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), plain, near)
  assert any(jnp.abs(a - b).max() > 1e-2 for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(far)))


def test_sam_stands_still_where_the_gradient_is_zero_and_needs_a_value_function():
  tx = updates.sam(optax.sgd(1.0))
  found, _ = tx.update(jnp.zeros(3), tx.init(jnp.zeros(3)), jnp.zeros(3), value_fn=lambda p: jnp.sum(p**2))
  assert found.tolist() == [0, 0, 0]
  with pytest.raises(ValueError, match="sam needs params and value_fn"):
    tx.update(jnp.zeros(3), tx.init(jnp.zeros(3)))


def test_projected_updates_cannot_change_what_a_layer_does_to_retained_inputs():
  rng = np.random.default_rng(0)
  basis = jnp.asarray(np.linalg.qr(rng.normal(size=(6, 2)))[0], jnp.float32)
  tx = optax.chain(optax.adam(0.1), updates.project_retain("basis"))
  found = _update(tx, PARAMS, refs={"basis": {"fc/kernel": basis}})
  retained = jnp.asarray(rng.normal(size=(5, 2)), jnp.float32) @ basis.T
  np.testing.assert_allclose(retained @ found["fc"]["kernel"], 0, atol=1e-6)
  assert jnp.abs(found["fc"]["kernel"]).max() > 1e-3
  assert not any(x.any() for x in (found["fc"]["bias"], *found["head"].values()))


def test_an_empty_basis_lets_everything_through_and_a_full_one_nothing():
  kernel = {"conv": jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 3, 4)), jnp.float32)}
  tx = updates.project_retain("basis")
  through = _update(tx, kernel, refs={"basis": {"conv": jnp.zeros((12, 0))}})
  np.testing.assert_array_equal(through["conv"], kernel["conv"])
  np.testing.assert_allclose(_update(tx, kernel, refs={"basis": {"conv": jnp.eye(12)}})["conv"], 0, atol=1e-6)


def test_bases_that_do_not_fit_are_errors():
  tx = updates.project_retain("basis")
  with pytest.raises(ValueError, match=r"needs refs\['basis'\]"):
    _update(tx, PARAMS, refs={})
  with pytest.raises(ValueError, match=r"bases for \['fc/kernal'\], which are no parameters"):
    _update(tx, PARAMS, refs={"basis": {"fc/kernal": jnp.eye(6)}})
  with pytest.raises(ValueError, match=r"the basis of 'fc/kernel' must be f\[6, r\], got shape \(5, 5\)"):
    _update(tx, PARAMS, refs={"basis": {"fc/kernel": jnp.eye(5)}})
