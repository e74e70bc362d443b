from __future__ import annotations

import numpy as np
import pytest
from common_paths import golden

from unlearnjax import attacks


def test_figures_of_the_starting_kit():
  z = golden("influence_fisher_leace")
  member = z["in_mia_member"] == 1
  found = attacks.loss_mia(z["in_mia_loss"][member], z["in_mia_loss"][~member])
  np.testing.assert_allclose(found, z["out_simple_mia_scores"])


def test_loss_attack_is_chance_on_one_distribution_and_certain_on_two():
  rng = np.random.default_rng(0)
  forget, heldout = rng.exponential(size=(2, 2000))
  scores = attacks.loss_mia(forget, heldout)
  assert scores.shape == (10,)
  assert abs(scores.mean() - 0.5) < 3 * 0.5 / np.sqrt(4000)
  np.testing.assert_array_equal(attacks.loss_mia(forget, heldout + 100.0), 1.0)


def test_the_larger_set_is_subsampled():
  # without equal sizes, calling everything held-out would be right 95% of the time
  rng = np.random.default_rng(0)
  scores = attacks.loss_mia(rng.normal(size=100), rng.normal(size=1900), splits=20)
  assert abs(scores.mean() - 0.5) < 3 * 0.5 / np.sqrt(200)


def test_infinite_losses_are_clipped():
  forget = np.array([np.inf, 1e30] * 20)
  np.testing.assert_array_equal(attacks.loss_mia(forget, np.zeros(40)), 1.0)


@pytest.mark.parametrize(
  ("forget", "heldout", "message"),
  [
    (np.zeros(0), np.zeros(10), "forget_losses is empty"),
    (np.zeros((10, 2)), np.zeros(10), r"forget_losses must be f\[N\]"),
    (np.zeros(10), np.full(10, np.nan), "heldout_losses must hold finite numbers, got 10 such as nan"),
    (np.zeros(3), np.zeros(100), "need more examples to be split: got 3 and 100"),
  ],
)
def test_loss_attack_refuses(forget, heldout, message):
  with pytest.raises(ValueError, match=message):
    attacks.loss_mia(forget, heldout)


def test_forest_attack():
  rng = np.random.default_rng(0)
  same = attacks.forest_mia(*rng.normal(size=(4, 500)), trees=20)
  assert abs(same.auc - 0.5) < 3 * np.sqrt(1001 / (12 * 500 * 500))
  low, high = rng.uniform(0, 1, (2, 100)), rng.uniform(5, 6, (2, 100))
  assert attacks.forest_mia(low[0], high[0], low[1], high[1], trees=5).auc == 1.0
  assert attacks.forest_mia(low[0], high[0], high[1], low[1], trees=5).auc == 0.0


def peaked(size, p):
  return np.tile([[p, 1 - p]], (size, 1))


@pytest.mark.parametrize("classifier", ["svc", "logistic"])
def test_entropy_attack(classifier):
  sets = peaked(40, 0.99), peaked(40, 0.6)
  assert attacks.entropy_mia(*sets, peaked(10, 0.98), classifier=classifier) == 1.0
  assert attacks.entropy_mia(*sets, peaked(10, 0.55), classifier=classifier) == 0.0
  mixed = np.concatenate([peaked(3, 0.99), peaked(1, 0.6)])
  assert attacks.entropy_mia(*sets, mixed, classifier=classifier) == 0.75


def test_regression_attack():
  rng = np.random.default_rng(0)
  low, high = rng.uniform(0, 1, 50), rng.uniform(4, 5, 50)
  assert attacks.regression_mia(low, high, np.array([0.5, 0.6, 0.7, 4.5])) == 0.75


def test_transfer_forgetting_rate():
  assert attacks.transfer_forgetting_rate(peaked(40, 0.99), peaked(40, 0.6), peaked(10, 0.98)) == 0.0
  assert attacks.transfer_forgetting_rate(peaked(40, 0.99), peaked(40, 0.6), peaked(10, 0.1)) == 1.0
  with pytest.raises(ValueError, match="same number of classes"):
    attacks.transfer_forgetting_rate(peaked(4, 0.9), peaked(4, 0.6), np.eye(3))
  with pytest.raises(ValueError, match="test_probs must have rows"):
    attacks.entropy_mia(peaked(4, 0.9), np.ones((4, 2)), peaked(4, 0.9))
