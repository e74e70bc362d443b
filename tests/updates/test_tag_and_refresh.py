from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import objectives, updates
from unlearnjax.core import UnlearnState, descend, sequence

PARAMS = mlp_params()


def _walk(tx, gradients, tasks):
  state, found = tx.init(jnp.zeros(2)), []
  step = jax.jit(lambda g, s, t: tx.update(g, s, refs={"task": t}))
  for g, t in zip(gradients, tasks):
    moved, state = step(jnp.asarray(g), state, t)
    found.append(np.asarray(moved))
  return found


@pytest.mark.parametrize("second,want", [((-1.0, 0.0), 0.0476294), ((1.0, 0.0), -6.114138)])
def test_figures_of_the_authors_rule(second, want):
  found = _walk(updates.tag(0.1, 3), [(1.0, 0.0)] * 3 + [second], [0, 0, 0, 1])
  assert found[-1][0] == pytest.approx(want, rel=1e-4) and found[-1][1] == 0


@pytest.mark.parametrize("kind,plain", [("rmsprop", None), ("adam", optax.adam(0.1)), ("adagrad", None)])
def test_one_task_is_the_plain_rule(kind, plain):
  gradients = [(1.0, -2.0), (0.5, 3.0), (-1.0, 0.1)]
  found = _walk(updates.tag(0.1, 2, kind=kind), gradients, [0, 0, 0])
  if plain is None:
    square, want = np.zeros(2), []
    for g in np.asarray(gradients):
      square = square + g**2 if kind == "adagrad" else 0.99 * square + 0.01 * g**2
      want.append(-0.1 * g / (np.sqrt(square) + 1e-8))
  else:
    state, want = plain.init(jnp.zeros(2)), []
    for g in gradients:
      moved, state = plain.update(jnp.asarray(g), state)
      want.append(np.asarray(moved))
  np.testing.assert_allclose(found, want, rtol=1e-4)


def test_unrelated_and_empty_tasks_enter_with_weight_one_and_nothing():
  found = _walk(updates.tag(0.1, 3), [(0.0, 1.0), (1.0, 0.0)], [0, 1])
  assert found[-1][0] == pytest.approx(-0.1 / np.sqrt(np.exp(-5.0) * 0.01), rel=1e-3)
  silent = _walk(updates.tag(0.1, 3), [(0.0, 0.0), (0.0, 0.0)], [0, 1])
  assert np.array_equal(silent, np.zeros((2, 2)))
  with pytest.raises(ValueError, match=r"tag reads the running task from refs\['task'\]; found \[\]"):
    updates.tag(0.1, 2).update(jnp.zeros(2), updates.tag(0.1, 2).init(jnp.zeros(2)))


def test_refresh_moves_each_leaf_uphill_by_its_own_length():
  xent = objectives.cross_entropy(mlp)
  loss = lambda p: xent(p, random_role(), view())[0]
  gradient = jax.grad(loss)(PARAMS)
  zero = jax.tree.map(jnp.zeros_like, PARAMS)
  tx = updates.refresh(1e-3, noise=0.0)
  refs = {"importance": zero}
  moved, _ = tx.update(gradient, tx.init(PARAMS), PARAMS, view=view(), refs=refs)
  for u, p in zip(jax.tree.leaves(moved), jax.tree.leaves(PARAMS)):
    assert float(jnp.linalg.norm(u)) == pytest.approx(1e-3 * float(jnp.linalg.norm(p)), rel=1e-5)
  assert loss(optax.apply_updates(PARAMS, moved)) > loss(PARAMS)
  scaled, _ = tx.update(jax.tree.map(lambda g: 7 * g, gradient), (), PARAMS, view=view(), refs=refs)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), scaled, moved)
  halved = jax.tree.map(lambda p: jnp.full_like(p, 1000.0), PARAMS)
  half, _ = tx.update(gradient, (), PARAMS, view=view(), refs={"importance": halved})
  jax.tree.map(lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-5), half, moved)


@pytest.mark.slow
def test_a_leaf_of_zeros_moves_by_noise_alone_and_rate_zero_is_the_base_method():
  biases = jax.tree.map(jnp.zeros_like, PARAMS)
  moved, _ = updates.refresh(1.0, noise=0.5).update(PARAMS, (), biases, view=view(), refs={"importance": biases})
  flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(moved)])
  assert flat.std() == pytest.approx(0.5, rel=0.2) and abs(flat.mean()) < 0.2
  xent = {"current": objectives.cross_entropy(mlp)}
  base = descend(xent, optax.sgd(0.1))
  both = sequence(descend(xent, updates.refresh(0.0), name="refresh"), descend(xent, optax.sgd(0.1)))
  ends = []
  for step in (base, both):
    state = step.init(UnlearnState.create(PARAMS, rng=jax.random.key(0)))
    ends.append(jax.jit(step.update)(state, {"current": random_role()}, {"importance": biases})[0].params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), *ends)
