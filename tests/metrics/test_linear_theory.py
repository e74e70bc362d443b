"""Closed forms of forgetting in linear regression, against golden values and against simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from unlearnjax.metrics import best_order, linear_forgetting, linear_generalization, linear_losses


def simulated(weights, examples, noise, repeats, seed=0):
  """Mean |w_t - w*_i|^2 over draws of the data, [T + 1, T], and its standard error."""
  rng, w_star = np.random.default_rng(seed), np.asarray(weights, float)
  tasks, p = w_star.shape
  found = np.zeros((repeats, tasks + 1, tasks))
  w = np.zeros((repeats, p))
  for t in range(tasks + 1):
    if t:
      x = rng.normal(size=(repeats, examples, p))
      y = x @ w_star[t - 1] + np.sqrt(noise) * rng.normal(size=(repeats, examples))
      gap = y - np.einsum("rnp,rp->rn", x, w)
      dual = np.linalg.solve(x @ x.transpose(0, 2, 1), gap[..., None])[..., 0]
      w = w + np.einsum("rnp,rn->rp", x, dual)
    found[:, t] = np.sum((w[:, None] - w_star) ** 2, -1)
  return found.mean(0), found.std(0) / np.sqrt(repeats)


@pytest.mark.parametrize(
  "weights, noise, general, forgot",
  [
    (np.eye(20)[:3], 0.0, 1.1927083333, 0.40625),
    (np.eye(20)[:3], 1.0, 2.0186011905, 0.7410714286),
    (np.eye(20)[[0, 0, 0]], 0.0, 0.421875, -0.234375),
  ],
)
def test_golden_values(weights, noise, general, forgot):
  assert linear_generalization(weights, 5, noise=noise) == pytest.approx(general, abs=1e-9)
  assert linear_forgetting(weights, 5, noise=noise) == pytest.approx(forgot, abs=1e-9)


def test_forgetting_is_the_sum_over_pairs_of_the_paper():
  rng = np.random.default_rng(1)
  w, n, s2 = rng.normal(size=(5, 12)), 4, 0.7
  count, p = w.shape
  r = 1 - n / p
  total = 0.0
  for i in range(1, count):
    total += (r**count - r**i) * np.sum(w[i - 1] ** 2) + p * s2 / (p - n - 1) * (r**i - r**count)
    for j in range(i + 1, count + 1):
      c = (1 - r) * (r ** (count - i) - r ** (j - i) + r ** (count - j))
      total += c * np.sum((w[i - 1] - w[j - 1]) ** 2)
  assert linear_forgetting(w, n, noise=s2) == pytest.approx(total / (count - 1), rel=1e-12)


@pytest.mark.parametrize("p, n, noise", [(12, 4, 0.0), (12, 8, 0.5), (24, 4, 1.0)])
def test_a_simulation_agrees(p, n, noise):
  w = np.random.default_rng(p).normal(size=(4, p))
  mean, error = simulated(w, n, noise, 3000)
  assert (np.abs(linear_losses(w, n, noise=noise) - mean) <= 5 * error + 1e-9).all()


def test_the_predicted_order_is_the_best_of_the_simulated_ones():
  rng = np.random.default_rng(3)
  w = np.repeat(rng.normal(size=(2, 10)), 2, 0) + 0.1 * rng.normal(size=(4, 10))
  order, value = best_order(w, 4)
  assert value == pytest.approx(linear_forgetting(w[list(order)], 4))

  def forgot(order):
    mean, _ = simulated(w[list(order)], 4, 0.0, 600)
    return np.mean([mean[-1, i] - mean[i + 1, i] for i in range(3)])

  values = {o: forgot(o) for o in itertools.permutations(range(4))}
  assert values[order] <= min(values.values()) + 0.05 * (max(values.values()) - min(values.values()))


def test_limits_and_bad_arguments():
  w = np.eye(2000)[:3]
  np.testing.assert_allclose(linear_losses(w, 1)[-1], 1, atol=2e-3)  # nothing is learned, nothing forgotten
  with pytest.raises(ValueError, match=r"examples must be in \[1, 18\], two less than the 20 features, got 19"):
    linear_losses(np.eye(20)[:3], 19)
  with pytest.raises(ValueError, match=r"weights must be \[tasks, features\], got shape \(3,\)"):
    linear_losses(np.ones(3), 1)
  with pytest.raises(ValueError, match="at least two tasks"):
    linear_forgetting(np.eye(5)[:1], 2)
  with pytest.raises(ValueError, match="2 to 8 tasks, got 9"):
    best_order(np.eye(12)[:9], 2)
