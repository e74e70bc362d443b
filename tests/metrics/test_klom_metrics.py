from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import metrics


def by_histogram(unlearned, oracle, bins=20):
  scores = []
  for u, o in zip(np.clip(unlearned, -100, 100).T, np.clip(oracle, -100, 100).T):
    edges = np.histogram_bin_edges(np.concatenate([u, o]), bins)
    p, q = (np.histogram(x, edges)[0] / len(x) for x in (u, o))
    scores.append(np.sum(p[p > 0] * np.log(p[p > 0] / np.maximum(q[p > 0], 1e-5))))
  return scores


def test_klom_agrees_with_histograms():
  rng = np.random.default_rng(0)
  unlearned, oracle = rng.normal(0.5, 2, (100, 7)).astype(np.float32), rng.normal(size=(80, 7)).astype(np.float32)
  expected = by_histogram(unlearned, oracle)
  np.testing.assert_allclose(metrics.klom(unlearned, oracle), expected, rtol=1e-3)
  np.testing.assert_allclose(jax.jit(metrics.klom)(unlearned, oracle), expected, rtol=1e-3)


def test_same_samples_are_at_zero():
  margins = np.random.default_rng(0).normal(size=(100, 5))
  np.testing.assert_allclose(metrics.klom(margins, margins[::-1]), 0, atol=1e-6)
  np.testing.assert_allclose(metrics.klom(margins, np.repeat(margins, 3, axis=0)), 0, atol=1e-6)
  np.testing.assert_allclose(metrics.klom(np.ones((4, 1)), np.ones((4, 1))), 0, atol=1e-6)


def test_the_largest_margin_falls_into_the_last_bin():
  unlearned, oracle = jnp.array([[0.0], [10.0]]), jnp.array([[0.0], [9.9]])
  np.testing.assert_allclose(metrics.klom(unlearned, oracle), 0, atol=1e-6)


def test_margins_are_clipped():
  np.testing.assert_allclose(metrics.klom(jnp.full((3, 1), 1e6), jnp.full((3, 1), 100.0)), 0, atol=1e-6)
  assert float(metrics.klom(jnp.full((3, 1), 1e6), jnp.zeros((3, 1)))[0]) == pytest.approx(np.log(1e5), rel=1e-4)


def test_klom_refuses():
  with pytest.raises(ValueError, match="same examples"):
    metrics.klom(jnp.zeros((3, 2)), jnp.zeros((3, 4)))
  with pytest.raises(ValueError, match="margins_oracle is empty"):
    metrics.klom(jnp.zeros((3, 2)), jnp.zeros((0, 2)))
  with pytest.raises(ValueError, match=r"margins_unlearned must be \[M, N\]"):
    metrics.klom(jnp.zeros(3), jnp.zeros((3, 1)))
