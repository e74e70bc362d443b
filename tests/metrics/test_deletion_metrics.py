"""The area under utility against deletion."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnjax import metrics


def test_a_constant_utility_of_one_has_the_width_as_its_area():
  x = [0.3, 0.1, 0.9, 0.4]
  assert metrics.deletion_utility_auc(x, np.ones(4)) == pytest.approx(0.8)
  assert metrics.deletion_utility_auc(x, np.ones(4), interval=(0.2, 0.5)) == pytest.approx(0.3)


def test_the_order_of_points_does_not_matter_even_among_ties():
  rng = np.random.default_rng(0)
  x, y = rng.choice(np.linspace(0, 1, 6), 20), rng.uniform(size=20)
  areas = [metrics.deletion_utility_auc(x[p], y[p]) for p in (rng.permutation(20) for _ in range(5))]
  np.testing.assert_allclose(areas, areas[0], atol=1e-12)


def test_parts_add_up_and_lines_are_exact():
  x, y = np.array([0.0, 0.25, 1.0]), np.array([1.0, 0.5, 0.4])
  whole = metrics.deletion_utility_auc(x, y)
  parts = [metrics.deletion_utility_auc(x, y, interval=i) for i in ((0.0, 0.1), (0.1, 0.6), (0.6, 1.0))]
  assert whole == pytest.approx(sum(parts)) == pytest.approx(0.25 * 0.75 + 0.75 * 0.45)


def test_one_that_deletes_more_gets_more_area_unless_the_interval_is_common():
  weak, strong = ([0.0, 0.4], [1.0, 0.9]), ([0.0, 0.4, 1.0], [1.0, 0.8, 0.5])
  assert metrics.deletion_utility_auc(*strong) > metrics.deletion_utility_auc(*weak)
  common = metrics.common_interval(weak[0], strong[0])
  assert common == (0.0, 0.4)
  first, second = (metrics.deletion_utility_auc(*run, interval=common) for run in (strong, weak))
  assert first < second


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: metrics.deletion_utility_auc([0.5, 0.5], [1, 1]), r"at least two values, got \[0.5\]"),
    (lambda: metrics.deletion_utility_auc([0, 1], [1]), "must have one length, got 2 and 1"),
    (lambda: metrics.deletion_utility_auc([0, 1], [1, 1], interval=(0, 2)), r"within the observed \[0, 1\]"),
    (lambda: metrics.common_interval([0, 0.2], [0.5, 1]), "no interval of deletion in common"),
    (lambda: metrics.common_interval(), "at least one run, got none"),
  ],
)
def test_what_it_refuses(call, message):
  with pytest.raises(ValueError, match=message):
    call()
