from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import metrics

GOLD = {"forget": 0.9, "retain": 1.0, "test": 0.93}


def test_tow_of_the_card():
  scores = {"forget": 0.95, "retain": 0.98, "test": 0.90}
  assert metrics.tow(scores, GOLD) == pytest.approx(0.90307, abs=1e-9)
  assert metrics.tow(list(scores.values()), list(GOLD.values())) == pytest.approx(0.90307, abs=1e-9)
  assert metrics.tow(np.array(list(scores.values())), np.array(list(GOLD.values()))) == pytest.approx(0.90307)


def test_retraining_against_itself_is_ideal():
  assert metrics.tow(GOLD, GOLD) == 1.0
  assert metrics.average_gap(GOLD, GOLD) == 0.0


def test_gaps_are_symmetric_and_vectorized_over_seeds():
  seeds = {name: value - jnp.array([0.0, 0.1]) for name, value in GOLD.items()}
  np.testing.assert_allclose(metrics.tow(seeds, GOLD), [1.0, 0.9**3], rtol=1e-5)
  np.testing.assert_allclose(metrics.tow(GOLD, seeds), metrics.tow(seeds, GOLD), rtol=1e-6)
  np.testing.assert_allclose(jax.jit(metrics.tow)(seeds, GOLD), [1.0, 0.9**3], rtol=1e-5)


def test_tow_mia_replaces_the_forget_accuracy():
  scores = {"mia": 0.6, "retain": 0.98, "test": 0.9}
  gold = {"mia": 0.65, "retain": 1.0, "test": 0.93}
  assert metrics.tow_mia(scores, gold) == pytest.approx(0.90307)
  with pytest.raises(ValueError, match="keys mia, retain and test"):
    metrics.tow_mia(GOLD, GOLD)


def test_average_gap_is_the_mean_of_absolute_gaps():
  assert metrics.average_gap([6.0, 97.0, 90.0, 20.0], [5.0, 100.0, 94.0, 12.0]) == pytest.approx(4.0)
  assert metrics.average_gap({"UA": 6.0, "RA": 97.0}, {"RA": 100.0, "UA": 5.0}) == pytest.approx(2.0)


def test_aus_of_the_card():
  assert metrics.aus(0.9, 0.88, 0.0) == pytest.approx(0.98)
  assert metrics.aus(0.9, 0.88, 0.95, setting="random") == pytest.approx(0.91588, abs=1e-5)
  assert metrics.aus(0.9, 0.92, 0.0) > 1
  assert float(jax.jit(metrics.aus)(0.9, 0.88, 0.5)) == pytest.approx(0.98 / 1.5)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: metrics.tow([95.0], [0.9]), "fraction in .0, 1.*percentages"),
    (lambda: metrics.aus(90.0, 0.88, 0.0), "original_test must be a fraction"),
    (lambda: metrics.aus(0.9, 0.88, 0.0, setting="sub-class"), "setting must be one of class, random"),
    (lambda: metrics.tow(GOLD, {"forget": 0.9}), "the same names"),
    (lambda: metrics.average_gap([1.0], [1.0, 2.0]), "the same length, got 1 and 2"),
    (lambda: metrics.average_gap([1.0], {"UA": 1.0}), "both be mappings or both be sequences"),
    (lambda: metrics.average_gap({}, {}), "no score"),
  ],
)
def test_gaps_refuse(call, message):
  with pytest.raises(ValueError, match=message):
    call()
