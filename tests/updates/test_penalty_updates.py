from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import losses, objectives, updates
from unlearnjax.core import UnlearnState, descend

PARAMS = mlp_params()
XENT = objectives.cross_entropy(mlp)
MOVED = jax.tree.map(lambda p: p + 0.2, PARAMS)
REFS = {
  "anchor": {"params": PARAMS},
  "importance": jax.tree.map(
    lambda p: jnp.abs(jnp.sin(jnp.arange(p.size, dtype=jnp.float32))).reshape(p.shape), PARAMS
  ),
}


def _step(step, refs=REFS, params=MOVED, count=2):
  state = step.init(UnlearnState.create(params, rng=jax.random.key(0)))
  update = jax.jit(step.update)
  for _ in range(count):
    state, _ = update(state, {"current": random_role()}, refs)
  return state


def test_a_penalty_inside_the_chain_is_a_role_of_its_own():
  penalty, adam = objectives.anchored(), optax.adam(0.05)
  inside = _step(descend({"current": XENT}, updates.penalized(adam, penalty, 3.0)))
  role = _step(descend({"current": XENT, "keep": objectives.scaled(penalty, 3.0)}, adam))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), inside.params, role.params)
  ahead = _step(descend({"current": XENT}, updates.lookahead(adam, penalty, 3.0)))
  assert any(jnp.any(jnp.abs(a - b) > 1e-4) for a, b in zip(*map(jax.tree.leaves, (ahead.params, role.params))))


def test_weighted_distance_generalizes_l2_and_merges_anchors():
  ones = jax.tree.map(jnp.ones_like, PARAMS)
  assert float(losses.weighted_distance(MOVED, PARAMS, ones)) == pytest.approx(
    float(losses.squared_distance(MOVED, PARAMS)), rel=1e-6
  )
  other, second = jax.tree.map(lambda p: p * 1.5, PARAMS), jax.tree.map(lambda p: p * 0 + 0.3, PARAMS)
  f = lambda p: losses.weighted_distance(p, PARAMS, REFS["importance"]) + losses.weighted_distance(p, other, second)
  total = jax.tree.map(jnp.add, REFS["importance"], second)
  mean = jax.tree.map(lambda s, a, x, b, y: (a * x + b * y) / s, total, REFS["importance"], PARAMS, second, other)
  slopes = jax.grad(f)(MOVED), jax.grad(losses.weighted_distance)(MOVED, mean, total)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *slopes)


@pytest.mark.slow
def test_the_path_integral_is_the_decrease_of_the_loss():
  batch = random_role()
  loss = lambda p: XENT(p, batch, view())[0]
  tx = updates.path_integral(optax.sgd(0.002, momentum=0.5))

  def body(carry, _):
    params, state = carry
    moved, state = tx.update(jax.grad(loss)(params), state, params)
    return (optax.apply_updates(params, moved), state), None

  (end, state), _ = jax.jit(lambda c: jax.lax.scan(body, c, length=300))((PARAMS, tx.init(PARAMS)))
  found = sum(float(x.sum()) for x in jax.tree.leaves(optax.tree.get(state, "path")))
  assert found == pytest.approx(float(loss(PARAMS) - loss(end)), rel=0.01)


def test_the_path_integral_sees_the_task_alone_when_the_penalty_is_inside():
  batch = random_role()
  outside = updates.path_integral(updates.penalized(optax.sgd(0.1), objectives.anchored(), 5.0))
  state = _step(descend({"current": XENT}, outside), count=1)
  gradient = jax.grad(XENT, has_aux=True)(MOVED, batch, view())[0]
  want = jax.tree.map(lambda g, a, b: -g * (a - b), gradient, state.params, MOVED)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), optax.tree.get(state.opt_state["main"][1], "path"), want
  )


def test_spectral_figures_of_the_paper():
  diagonal, u = {"kernel": jnp.diag(jnp.array([2.0, 0.5]))}, {"kernel": jnp.array([1.0, 0.0])}
  assert float(losses.spectral_penalty(diagonal, u)) == pytest.approx(9)
  np.testing.assert_allclose(jax.grad(losses.spectral_penalty)(diagonal, u)["kernel"], [[24, 0], [0, 0]], atol=1e-5)
  ones = jnp.ones(2)
  assert float(losses.spectral_penalty({"fc": {"bias": ones}}, {})) == pytest.approx(4)
  norm = lambda scale, bias: float(losses.spectral_penalty({"n": {"scale": scale, "bias": bias}}, {}))
  assert norm(ones, ones) == pytest.approx(2) and norm(jnp.array([2.0, 1.0]), 0 * ones) == pytest.approx(9)
  turn = {"kernel": jnp.array([[0.6, -0.8], [0.8, 0.6]])}
  value, slope = jax.value_and_grad(losses.spectral_penalty)(turn, losses.spectral_start(turn))
  assert float(value) == pytest.approx(0, abs=1e-6) and jnp.abs(slope["kernel"]).max() < 1e-5


def test_power_iteration_approaches_the_top_singular_value_from_below():
  params = {"conv": {"kernel": jax.random.normal(jax.random.key(0), (3, 3, 2, 5))}}
  u, sigmas = losses.spectral_start(params), []
  matrix = np.asarray(params["conv"]["kernel"]).reshape(-1, 5)
  for _ in range(30):
    sigmas.append(float(np.linalg.norm(matrix @ np.asarray(u["conv/kernel"]))))
    u = losses.spectral_step(params, u)
  top = np.linalg.svd(matrix, compute_uv=False)[0]
  assert (np.diff(sigmas) > -1e-5).all() and max(sigmas) <= top * (1 + 1e-6)
  assert sigmas[-1] == pytest.approx(top, rel=1e-3)


@pytest.mark.slow
def test_spectral_pulls_a_kernel_to_one_and_weight_zero_is_the_optimizer():
  tx, params = optax.chain(updates.spectral(0.1), optax.sgd(0.1)), mlp_params()
  state = tx.init(params)
  zero = jax.tree.map(jnp.zeros_like, params)
  step = jax.jit(lambda p, s: (lambda u, s: (optax.apply_updates(p, u), s))(*tx.update(zero, s, p)))
  for _ in range(200):
    params, state = step(params, state)
  assert np.linalg.svd(params["fc"]["kernel"], compute_uv=False)[0] == pytest.approx(1, abs=0.05)
  gradient, _ = updates.spectral(0.0).update(PARAMS, tx.init(PARAMS)[0], PARAMS)
  jax.tree.map(np.testing.assert_array_equal, gradient, PARAMS)


def test_wasserstein_reads_the_distribution_of_the_weights_alone():
  shuffled = jax.tree.map(lambda p: jax.random.permutation(jax.random.key(0), p.ravel()).reshape(p.shape), PARAMS)
  assert float(losses.wasserstein(shuffled, PARAMS)) == 0
  want = sum(float(jnp.mean((a - b) ** 2)) for a, b in zip(*map(jax.tree.leaves, (MOVED, PARAMS))))
  assert float(losses.wasserstein(MOVED, PARAMS)) == pytest.approx(want, rel=1e-5)  # a shift keeps the order


def test_missing_arguments_are_named():
  for tx in (
    updates.lookahead(optax.sgd(0.1), objectives.anchored(), 1.0),
    updates.penalized(optax.sgd(0.1), objectives.anchored(), 1.0),
  ):
    with pytest.raises(ValueError, match="(lookahead|penalized) needs params and view, as descend passes them"):
      tx.update(PARAMS, tx.init(PARAMS), PARAMS)
  with pytest.raises(ValueError, match="weight must be >= 0, got -1"):
    updates.spectral(-1.0)
  with pytest.raises(ValueError, match="refs has no 'importance'; found"):
    objectives.anchored()(PARAMS, None, view(refs={"anchor": {"params": PARAMS}}))
