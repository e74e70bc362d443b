from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import mlp, mlp_params, random_role, role, view

from unlearnjax import losses, objectives

PARAMS = mlp_params()
BATCH = random_role()


def test_cross_entropy_is_the_mean_over_rows_with_accuracy_and_weight():
  value, aux = objectives.cross_entropy(mlp)(PARAMS, BATCH, view())
  logits = mlp(PARAMS, BATCH["inputs"]).logits
  np.testing.assert_allclose(value, losses.cross_entropy(logits, BATCH["y"]).mean(), rtol=1e-6)
  np.testing.assert_allclose(aux["accuracy"], (logits.argmax(-1) == BATCH["y"]).mean(), rtol=1e-6)
  assert aux["weight"] == 12 and "state" not in aux


def test_rows_that_are_not_valid_change_neither_value_nor_gradient():
  x = np.asarray(BATCH["inputs"]["x"])
  padded = role(
    np.concatenate([x, 1e3 * np.ones((3, 6), np.float32)]),
    np.arange(15) < 12,
    y=np.concatenate([np.asarray(BATCH["y"]), np.zeros(3, np.int32)]),
  )
  for factory in (objectives.cross_entropy, objectives.uncertain):
    objective = jax.value_and_grad(factory(mlp), has_aux=True)
    (a, aux_a), grad_a = objective(PARAMS, BATCH, view())
    (b, aux_b), grad_b = objective(PARAMS, padded, view())
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert aux_a["weight"] == aux_b["weight"] == 12
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, atol=1e-6), grad_a, grad_b)


def test_a_batch_without_valid_rows_gives_zero_loss_zero_gradient_and_no_weight():
  empty = {**BATCH, "valid": jnp.zeros(12, bool)}
  (value, aux), gradient = jax.value_and_grad(objectives.cross_entropy(mlp), has_aux=True)(PARAMS, empty, view())
  assert value == 0 and aux["weight"] == 0
  assert not any(g.any() for g in jax.tree.leaves(gradient))


def test_state_is_returned_in_training_only():
  state = {"count": jnp.array(3)}
  _, aux = objectives.cross_entropy(mlp)(PARAMS, BATCH, view(state=state))
  assert aux["state"]["count"] == 4
  _, aux = objectives.cross_entropy(mlp, train=False)(PARAMS, BATCH, view(state=state))
  assert "state" not in aux


def test_supervised_binds_any_loss():
  batch = {**BATCH, "t": jnp.ones((12, 4))}
  value, _ = objectives.supervised(mlp, losses.squared_error, target="t")(PARAMS, batch, view())
  np.testing.assert_allclose(value, jnp.mean((mlp(PARAMS, BATCH["inputs"]).logits - 1) ** 2), rtol=1e-5)
  with pytest.raises(ValueError, match="no column 'label'; found"):
    objectives.cross_entropy(mlp, target="label")(PARAMS, BATCH, view())


def test_random_labels_are_redrawn_with_the_key_and_reproducible_with_it():
  objective = jax.jit(
    lambda seed: objectives.random_label(mlp)(
      PARAMS, BATCH, view()._replace(rng=jax.random.fold_in(jax.random.key(0), seed))
    )[0]
  )
  values = [float(objective(seed)) for seed in (1, 1, 2)]
  assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("exclude_true, exclude", [(False, ()), (True, ()), (False, (1,)), (True, (1,))])
def test_random_labels_are_uniform_over_what_is_allowed(exclude_true, exclude):
  true = jnp.tile(jnp.arange(5), 4000)
  draws = np.asarray(objectives.random_labels(jax.random.key(0), true, 5, exclude_true=exclude_true, exclude=exclude))
  for label in range(5):
    allowed = [c for c in range(5) if c not in exclude and not (exclude_true and c == label)]
    counts = np.bincount(draws[np.asarray(true) == label], minlength=5)
    assert counts.sum() == counts[allowed].sum() == 4000
    expected = 4000 / len(allowed)
    assert ((counts[allowed] - expected) ** 2 / expected).sum() < 25  # chi-square, at most 4 degrees of freedom


def test_frozen_labels_come_from_their_column():
  batch = {**BATCH, "wrong": (BATCH["y"] + 1) % 4}
  found = objectives.random_label(mlp, frozen_in="wrong")(PARAMS, batch, view())[0]
  assert found == objectives.cross_entropy(mlp, target="wrong")(PARAMS, batch, view())[0]


def test_no_class_left_to_draw_is_an_error():
  with pytest.raises(ValueError, match="no class is left to draw: 2 classes"):
    objectives.random_labels(jax.random.key(0), jnp.zeros(3, jnp.int32), 2, exclude_true=True, exclude=(1,))


def test_uncertain_rewards_entropy():
  value, _ = objectives.uncertain(mlp, offset=0.05, entropy_weight=0.2)(PARAMS, BATCH, view())
  logits = mlp(PARAMS, BATCH["inputs"]).logits
  p = np.asarray(jax.nn.softmax(logits))
  py = p[np.arange(12), np.asarray(BATCH["y"])]
  want = np.mean(-np.log(1 - py + 0.05) + 0.2 * np.sum(p * np.log(p), -1))
  np.testing.assert_allclose(value, want, rtol=1e-4)


def test_mean_and_total_check_shapes():
  with pytest.raises(ValueError, match=r"one value per row, \[B\], got shape \(2, 2\)"):
    objectives.mean(jnp.ones((2, 2)), {})
  with pytest.raises(ValueError, match=r"valid must be bool\[2\]"):
    objectives.total(jnp.ones(2), {"valid": jnp.ones(3, bool)})
  assert "weight" not in objectives.total(jnp.ones(2), {})[1]
