"""Metrics of continual learning: published figures, identities, and clear errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax import metrics as m

R = np.array([[0.9, 0.5, 0.5], [0.7, 0.95, 0.6], [0.6, 0.85, 0.92]])
RISING = np.array([[0.6, 0, 0], [0.8, 0.7, 0], [0.9, 0.75, 0.8]])


def test_golden_figures():
  b = [0.5] * 3
  assert m.average_accuracy(R) == pytest.approx(0.79)
  assert m.backward_transfer(R) == pytest.approx(-0.2)
  assert m.backward_transfer(R, definition="gem_code") == pytest.approx(-0.1333, abs=1e-4)
  assert m.forward_transfer(R, b) == pytest.approx(0.05)
  assert m.forgetting(R) == pytest.approx(0.2)
  assert m.learning_accuracy(R) == pytest.approx(0.92333, abs=1e-5)
  assert [m.average_accuracy(R, after=k) for k in (1, 2, 3)] == pytest.approx([0.9, 0.825, 0.79])
  assert m.average_incremental_accuracy(R) == pytest.approx(0.83833, abs=1e-5)
  assert m.average_incremental_accuracy(R, first=False) == pytest.approx((0.825 + 0.79) / 2)
  assert m.forgetting(RISING) == pytest.approx(-0.075)
  assert m.forgetting(RISING, definition="mammoth") == pytest.approx(0.0)
  assert m.backward_transfer(RISING) == pytest.approx(0.175)
  assert m.forgetting(RISING, definition="avalanche") == pytest.approx(-0.175)
  assert m.forgetting(R, definition="gem") == pytest.approx(0.4 / 3)
  assert m.intransigence(R, [0.9, 0.96, 0.95]) == pytest.approx(0.03)
  assert m.plasticity(R).tolist() == [0.9, 0.95, 0.92]


@settings(max_examples=20, deadline=None)
@given(tasks=st.integers(2, 8), seed=st.integers(0, 10**6))
def test_identities(tasks, seed):
  r = np.random.default_rng(seed).random((tasks, tasks))
  share = (tasks - 1) / tasks
  assert m.average_accuracy(r) == pytest.approx(m.learning_accuracy(r) + share * m.backward_transfer(r))
  assert m.forgetting(r) >= m.forgetting(r, definition="avalanche") - 1e-12
  assert m.forgetting(r, definition="mammoth") >= max(0.0, m.forgetting(np.tril(r)) - 1e-12)
  assert m.average_accuracy(r[:-1]) == m.average_accuracy(r, after=tasks - 1)
  # evaluating only at the ends of tasks gives the metrics of the matrix
  ends = np.arange(tasks)
  assert m.average_anytime_accuracy(r, ends) == pytest.approx(m.average_incremental_accuracy(r))
  assert m.min_acc(r, ends) <= r[-1, :-1].mean() + 1e-12
  want = r[-1, -1] / tasks + share * m.min_acc(r, ends)
  assert m.wc_acc(r, ends) == pytest.approx(want)


def test_windows():
  drop = np.array([[0.9, 0.8, 0.3, 0.5, 0.85, 0.88]]).T
  task = np.zeros(6, int)
  assert m.wf(drop, task, 3) == pytest.approx(0.6) and m.wp(drop, task, 3) == pytest.approx(0.55)
  flat = np.full((6, 1), 0.4)
  assert m.wf(flat, task, 4) == m.wp(flat, task, 4) == 0
  assert m.wf(drop, task, 1) == 0  # a window of one evaluation holds no drop
  rise = np.array([[0.9, 0.3, 0.8, 0.82, 0.84]]).T
  assert m.wp(rise, np.zeros(5, int), 10) == pytest.approx(0.54)


def test_minima_start_after_a_tasks_own_training():
  curve = [[0.1, 0.0], [0.9, 0.0], [0.6, 0.4], [0.8, 0.7]]
  assert m.min_acc(curve, [0, 0, 1, 1]) == pytest.approx(0.6)
  assert m.wf(curve, [0, 0, 1, 1], 2) == pytest.approx(0.15)  # 0.3 of task 0 and none of task 1


@pytest.mark.parametrize(
  "use, message",
  [
    (lambda: m.backward_transfer(R[:1]), "backward_transfer needs at least 2 tasks learned, got 1"),
    (lambda: m.forgetting(R, after=1), "forgetting needs at least 2 tasks learned"),
    (lambda: m.average_accuracy(R[:2], after=3), r"after must be in \[1, 2\]: the matrix has 2 tasks learned, got 3"),
    (lambda: m.average_accuracy(R.T[:, :2]), "at most square"),
    (lambda: m.average_accuracy(R * 100), r"accuracies must lie in \[0, 1\], got 50..95"),
    (lambda: m.average_accuracy(np.where(np.eye(3) > 0, np.nan, R)), "not measured"),
    (lambda: m.forward_transfer(np.tril(R) + np.triu(R * np.nan, 1), [0.5] * 3), "not measured"),
    (lambda: m.forward_transfer(R, [0.5]), r"baseline must hold one accuracy a task, \[3\]"),
    (lambda: m.forgetting(R, definition="nope"), "definition must be one of chaudhry, gem, avalanche, mammoth"),
    (lambda: m.min_acc([[0.5, 0.1]], [0]), "only one so far"),
    (lambda: m.wf([[0.5]], [0], 0), "window must be > 0"),
    (lambda: m.average_anytime_accuracy([[0.5]], [1]), "task must rise"),
    (lambda: m.average_anytime_accuracy([[np.nan]], [0]), "not finite"),
  ],
)
def test_what_cannot_be_asked_is_refused(use, message):
  with pytest.raises(ValueError, match=message):
    use()


def test_a_metric_of_unknown_entries_ignores_those_it_does_not_read():
  lower = np.where(np.tril(np.ones((3, 3))) > 0, R, np.nan)
  assert m.forgetting(lower) == pytest.approx(0.2) and m.average_accuracy(lower) == pytest.approx(0.79)
