from __future__ import annotations

import math

import numpy as np
import pytest
from common_paths import golden

from unlearnjax import attacks


def test_figures_of_the_reference():
  z = golden("neurips23_forget_score")
  epsilons = attacks.forgetting_epsilon(z["in_unlearned_confs"], z["in_retrained_confs"])
  np.testing.assert_allclose(epsilons, z["out_epsilons"], rtol=1e-6)
  assert attacks.forgetting_score(epsilons, models=64) == pytest.approx(float(z["out_score_0"]))


def test_epsilon_of_one_threshold_by_hand():
  # between the two kinds every threshold accepts 3 of 4 and 1 of 4: log(1 - delta - .25) - log .25 = log 3
  low, high = np.array([0.0, 0.0, 0.0, 40.0]), np.array([0.0, 40.0, 40.0, 40.0])
  found = attacks.forgetting_epsilon(low[:, None], high[:, None])
  assert found[0] == pytest.approx(math.log((1 - 1e-5 - 0.25) / 0.25), rel=1e-9)


def test_an_interval_finds_a_narrow_kind_inside_a_wide_one():
  # no threshold separates them, an interval does it with 1 error of 10 on each side
  narrow = np.append(np.linspace(-0.5, 0.5, 9), 0.9)
  wide = np.concatenate([np.linspace(-9, -5, 5), np.linspace(5, 9, 4), [0.0]])
  epsilon = attacks.forgetting_epsilon(narrow[:, None], wide[:, None])[0]
  assert epsilon == pytest.approx(math.log((1 - 1e-5 - 0.1) / 0.1), rel=1e-9)
  assert attacks.forgetting_epsilon(wide[:, None], narrow[:, None])[0] == pytest.approx(epsilon)


def test_the_same_models_give_zero_and_the_full_score():
  confs = np.random.default_rng(0).normal(size=(64, 5))
  epsilons = attacks.forgetting_epsilon(confs, confs[::-1])
  np.testing.assert_array_equal(epsilons, 0)
  assert attacks.forgetting_score(epsilons, models=64) == 1.0


def test_a_shift_of_many_deviations_gives_the_cap_and_no_score():
  confs = np.random.default_rng(0).normal(size=(2, 64, 5))
  epsilons = attacks.forgetting_epsilon(confs[0] + 30, confs[1], cap=20.0)
  np.testing.assert_array_equal(epsilons, 20)
  assert attacks.forgetting_score(epsilons, models=64) == 0.0


def test_epsilon_grows_with_the_shift():
  confs = np.random.default_rng(0).normal(size=(2, 128, 40))
  means = [attacks.forgetting_epsilon(confs[0] + shift, confs[1]).mean() for shift in (0.0, 1.0, 2.5)]
  assert means[0] < means[1] < means[2]


def test_degenerate_ranges():
  spread = np.random.default_rng(0).normal(size=(32, 1))
  assert attacks.forgetting_epsilon(np.zeros((32, 1)), spread)[0] == 50.0
  assert attacks.forgetting_epsilon(0.001 * spread, spread)[0] == 50.0
  assert attacks.forgetting_epsilon(np.ones((4, 1)), np.ones((4, 1)))[0] == 0.0
  assert attacks.forgetting_epsilon(np.ones((4, 1)), np.zeros((4, 1)))[0] == 50.0


def test_numbers_of_models_may_differ():
  rng = np.random.default_rng(0)
  unlearned, retrained = rng.normal(1, 1, (40, 3)), rng.normal(size=(64, 3))
  found = attacks.forgetting_epsilon(unlearned, retrained)
  assert found.shape == (3,) and np.isfinite(found).all()
  # repeating every model changes neither the error rates nor epsilon
  np.testing.assert_allclose(attacks.forgetting_epsilon(np.repeat(unlearned, 3, axis=0), retrained), found)


def test_score_steps():
  epsilons = [0.0, 0.49, 0.5, 0.99, 1.0, 4.99, 5.0]
  points = [1, 1, 0.5, 0.5, 0.25, 2.0**-9, 0]
  assert attacks.forgetting_score(epsilons, models=64) == pytest.approx(np.mean(points))


def test_final_score():
  assert attacks.final_score(0.2, 0.9, 0.9, 0.7, 0.7) == pytest.approx(0.2)
  assert attacks.final_score(0.2, 0.45, 0.9, 0.7, 1.4) == pytest.approx(0.05)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: attacks.forgetting_epsilon(np.zeros((1, 3)), np.zeros((4, 3))), "unlearned_confs needs at least 2 models"),
    (lambda: attacks.forgetting_epsilon(np.zeros((4, 2)), np.zeros((4, 3))), "same examples"),
    (lambda: attacks.forgetting_epsilon(np.full((4, 2), np.inf), np.zeros((4, 2))), "8 such as inf"),
    (lambda: attacks.forgetting_epsilon(np.zeros(4), np.zeros((4, 2))), r"must be f\[M, N\]"),
    (lambda: attacks.forgetting_epsilon(np.zeros((4, 1)), np.zeros((4, 1)), delta=0.0), "delta must be in"),
    (lambda: attacks.forgetting_score([0.1], models=2), "models must be at least 3"),
    (lambda: attacks.forgetting_score([np.nan], models=8), "epsilons must hold finite numbers"),
    (lambda: attacks.final_score(0.1, 0.9, 0.0, 0.9, 0.9), "retain_reference must be > 0"),
  ],
)
def test_epsilon_refuses(call, message):
  with pytest.raises(ValueError, match=message):
    call()
