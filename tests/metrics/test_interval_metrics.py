from __future__ import annotations

import math

import numpy as np
import pytest

from unlearnjax import metrics


def test_mean_ci_covers_the_mean_as_often_as_it_says():
  rng = np.random.default_rng(0)
  draws = rng.normal(3.0, 2.0, (5, 4000))
  mean, half = metrics.mean_ci(draws, level=0.9)
  covered = np.mean(np.abs(mean - 3.0) <= half)
  assert abs(covered - 0.9) < 4 * math.sqrt(0.9 * 0.1 / 4000)


def test_mean_ci_by_hand_and_of_one_seed():
  mean, half = metrics.mean_ci([1.0, 2.0, 3.0])
  assert (mean, half) == pytest.approx((2.0, 4.30265 / math.sqrt(3)), rel=1e-5)
  mean, half = metrics.mean_ci([7.0])
  assert mean == 7.0 and math.isnan(half)


def test_bootstrap_is_seeded_and_near_the_normal_interval():
  values = np.random.default_rng(0).normal(size=400)
  low, high = metrics.bootstrap_ci(values, seed=1)
  assert metrics.bootstrap_ci(values, seed=1) == (low, high) != metrics.bootstrap_ci(values, seed=2)
  half = 1.96 * values.std() / 20
  assert low == pytest.approx(values.mean() - half, abs=0.02)
  assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_bootstrap_resamples_rows_together():
  rows = np.stack([np.arange(30.0), 2 * np.arange(30.0)], axis=1)
  low, high = metrics.bootstrap_ci(rows, lambda r: np.corrcoef(r.T)[0, 1], samples=50)
  assert (low, high) == pytest.approx((1.0, 1.0))


def test_wilson_interval():
  # scipy's own interval as an independent computation
  from scipy.stats import binomtest

  for successes, trials in ((0, 10), (3, 10), (90, 100), (10, 10)):
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert metrics.binomial_ci(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: metrics.mean_ci([]), "values is empty"),
    (lambda: metrics.mean_ci([1.0], level=1.0), r"level must be in \(0, 1\)"),
    (lambda: metrics.bootstrap_ci(np.zeros(0)), "values is empty"),
    (lambda: metrics.binomial_ci(11, 10), r"successes must be in \[0, trials\] = \[0, 10\], got 11"),
    (lambda: metrics.binomial_ci(0, 0), "trials must be > 0"),
  ],
)
def test_intervals_refuse(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_steps_to():
  loss = [2.0, 1.5, 0.4, 0.6, 0.3]
  assert metrics.steps_to(loss, 0.5) == 2
  assert metrics.steps_to(loss, 0.5, every=25) == 50
  assert metrics.steps_to(loss, 5.0) == 0
  assert metrics.steps_to(loss, 0.1) == math.inf
  assert metrics.steps_to([0.1, 0.5, 0.9], 0.9, direction="above") == 2
  with pytest.raises(ValueError, match="direction must be one of below, above"):
    metrics.steps_to(loss, 0.5, direction="down")
  with pytest.raises(ValueError, match="K >= 1"):
    metrics.steps_to([], 0.5)


def test_anamnesis_index():
  assert metrics.anamnesis_index(40, 40) == 1.0
  assert metrics.anamnesis_index(0, 40) == 0.0
  assert metrics.anamnesis_index(math.inf, 40) == math.inf
  for gold in (0, math.inf):
    with pytest.raises(ValueError, match="steps_gold must be"):
      metrics.anamnesis_index(10, gold)
