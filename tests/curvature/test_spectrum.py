"""Traces, diagonals and eigenvalues through matfree equal those of the matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from toy_net import mlp_params, random_role, tanh_mlp, view

from unlearnjax import curvature, objectives

pytest.importorskip("matfree")
pytestmark = pytest.mark.slow

PARAMS, BATCH = mlp_params(sizes=(6, 3, 4)), random_role()
XENT = objectives.cross_entropy(tanh_mlp, train=False)
PRODUCT = lambda v: curvature.hvp(XENT, PARAMS, BATCH, v, microbatch=5)


@pytest.fixture(scope="module")
def dense():
  flat, unravel = ravel_pytree(PARAMS)
  return np.asarray(jax.hessian(lambda x: XENT(unravel(x), BATCH, view())[0])(flat))


def test_trace_and_diagonal_are_unbiased_within_their_errors(dense):
  trace, error = jax.jit(lambda k: curvature.hessian_trace(PRODUCT, PARAMS, k, samples=400))(jax.random.key(0))
  assert abs(float(trace) - np.trace(dense)) < 4 * float(error) and float(error) < 0.2 * abs(np.trace(dense))
  diagonal = jax.jit(lambda k: curvature.hessian_diag(PRODUCT, PARAMS, k, samples=400))(jax.random.key(1))
  spread = np.sqrt(((dense**2).sum(1) - np.diag(dense) ** 2) / 400)
  assert np.all(np.abs(ravel_pytree(diagonal)[0] - np.diag(dense)) < 5 * spread + 1e-6)


def test_the_largest_eigenvalues_and_their_vectors(dense):
  found = jax.jit(lambda k: curvature.top_eigs(PRODUCT, PARAMS, k, k=3))(jax.random.key(2))
  values = np.linalg.eigvalsh(dense)
  want = values[np.argsort(-np.abs(values))[:3]]
  np.testing.assert_allclose(found.values, want, rtol=1e-3)
  for i in range(3):
    v = ravel_pytree(jax.tree.map(lambda x, i=i: x[i], found.vectors))[0]
    np.testing.assert_allclose(dense @ v, found.values[i] * v, atol=2e-3)
    np.testing.assert_allclose(jnp.linalg.norm(v), 1, rtol=1e-4)
  assert float(found.residuals.max()) < 2e-3


def test_residuals_tell_values_that_have_not_converged():
  product = lambda v: jnp.linspace(0.0, 1.0, 200) * v
  short = curvature.top_eigs(product, jnp.zeros(200), jax.random.key(0), k=1, steps=3)
  assert float(short.residuals[0]) > 0.02 and float(short.values[0]) < 1


def test_messages():
  with pytest.raises(ValueError, match="samples must be >= 2, got 1"):
    curvature.hessian_trace(lambda v: v, jnp.zeros(2), jax.random.key(0), samples=1)
  with pytest.raises(ValueError, match="1 <= k <= steps <= 2, got k=3"):
    curvature.top_eigs(lambda v: v, jnp.zeros(2), jax.random.key(0), k=3)
