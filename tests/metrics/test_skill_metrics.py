"""Forget gap and ratio of a skill, and what decides a cross-task matrix."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnjax import metrics


def test_closed_values_of_gap_and_ratio():
  assert float(metrics.forget_gap(0.5)) == 0 and float(metrics.forget_ratio(0.9, 0.5)) == 1  # all of it
  assert float(metrics.forget_ratio(0.9, 0.9)) == 0  # no training
  assert float(metrics.forget_ratio(0.9, 0.7)) == pytest.approx(0.5)
  assert float(metrics.forget_ratio(0.9, 0.1)) == pytest.approx(2.0)  # worse than chance
  assert float(metrics.forget_ratio(0.9, 0.1, labels="flipped")) == pytest.approx(1.0)
  assert float(metrics.forget_gap(0.7, chance=0.25)) == pytest.approx(0.45)


def test_a_skill_that_was_never_there_has_no_ratio():
  assert np.isnan(metrics.forget_ratio([0.5, 0.54, 0.4], [0.5, 0.5, 0.5])).all()
  assert float(metrics.forget_ratio(0.54, 0.5, least=0.01)) == pytest.approx(1.0)


def test_the_cross_task_matrix_is_a_broadcast():
  before, after = np.array([0.9, 0.8]), np.array([[0.5, 0.8], [0.9, 0.5]])
  np.testing.assert_allclose(metrics.forget_ratio(before, after), np.eye(2), atol=1e-12)


def test_what_decides_a_matrix():
  rows = np.array([[1.0, 1.0], [3.0, 3.0]])
  assert metrics.two_way(rows) == (1, 0, 0) and metrics.two_way(rows.T) == (0, 1, 0)
  assert metrics.two_way([[1.0, 0.0], [0.0, 1.0]]) == (0, 0, 1)  # neither alone
  shares = metrics.two_way(np.random.default_rng(0).normal(size=(5, 4)))
  assert sum(shares) == pytest.approx(1) and min(shares) >= 0
  assert metrics.two_way([[1.0, np.nan, 0.0], [1.0, 2.0, 0.0]]) == (0, 1, 0)
  assert np.isnan(metrics.two_way(np.ones((2, 2)))).all()


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: metrics.forget_gap(70), "after must be a fraction"),
    (lambda: metrics.forget_ratio(0.9, 0.5, labels="shuffled"), "labels must be one of random, flipped"),
    (lambda: metrics.forget_ratio(0.9, 0.5, chance=1.0), r"chance must be in \(0, 1\), got 1.0"),
    (lambda: metrics.two_way([1.0]), r"matrix must be \[I, J\], got shape \(1,\)"),
    (lambda: metrics.two_way([[np.nan]]), "a column whose entries are all finite"),
  ],
)
def test_what_they_refuse(call, message):
  with pytest.raises(ValueError, match=message):
    call()
