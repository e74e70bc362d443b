from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import batches_of, mlp, mlp_params, model_of, random_role, run

from unlearnjax import curvature, losses
from unlearnjax.core.types import Outputs

PARAMS, BATCH = mlp_params(), random_role(size=60)
MODEL = model_of(PARAMS)
X, Y = np.asarray(BATCH["inputs"]["x"]), np.asarray(BATCH["y"])
Z = np.asarray(mlp(PARAMS, BATCH["inputs"], capture=("head:in",)).hidden["head:in"], np.float64)


@pytest.mark.parametrize("size", [7, 60])
def test_prototypes_are_class_means_whatever_the_batches(size):
  y = np.where(Y == 2, 0, Y)  # a class that does not occur keeps its row
  found = run(curvature.class_prototypes(mlp, 4), MODEL, batches_of(X, y, size))
  want = [Z[y == c].mean(0) if (y == c).any() else np.zeros(16) for c in range(4)]
  np.testing.assert_allclose(found["mean"], want, rtol=1e-5, atol=1e-6)
  assert found["count"].tolist() == [(y == c).sum() for c in range(4)]


@pytest.mark.parametrize("size", [7, 60])
def test_moments_are_those_of_tukey_features(size):
  found = run(curvature.class_moments(mlp, 4), MODEL, batches_of(X, Y, size))
  for c in range(4):
    t = np.sqrt(Z[Y == c])
    np.testing.assert_allclose(found["mean"][c], t.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["covariance"][c], np.cov(t.T), rtol=1e-3, atol=1e-5)


def test_large_means_do_not_cost_the_covariance_its_digits():
  far = lambda params, inputs, **_: Outputs(inputs["x"], {"head:in": 3000.0 + inputs["x"]})
  found = run(curvature.class_moments(far, 1, power=1.0, width=6), model_of({}, far), batches_of(X, 0 * Y, 7))
  np.testing.assert_allclose(found["covariance"][0], np.cov(X.T), atol=2e-3)


def test_a_class_with_a_single_example_has_covariance_zero_and_finite_precision():
  found = run(curvature.class_moments(mlp, 2), MODEL, batches_of(X[:1], 0 * Y[:1], 4))
  assert not found["covariance"].any()
  precision = curvature.class_precisions(found["covariance"])
  np.testing.assert_allclose(precision, np.stack([np.eye(16)] * 2), atol=1e-5)


def test_shrinkage_and_correlation():
  rng = np.random.default_rng(0)
  s = np.cov(rng.normal(size=(3, 20)))
  off = ~np.eye(3, dtype=bool)
  want = s + 2.0 * np.diag(s).mean() * np.eye(3) + 0.5 * s[off].mean() * off
  np.testing.assert_allclose(curvature.shrink(jnp.asarray(s), 2.0, 0.5), want, rtol=1e-5)
  sparse = jnp.array([[1.0, 0.0, 0.4], [0.0, 1.0, 0.0], [0.4, 0.0, 1.0]])
  np.testing.assert_allclose(curvature.shrink(sparse, 0.0, 1.0)[0, 1], 0.4, rtol=1e-6)  # zeros do not enter the mean
  twice = curvature.shrink_to_correlation(jnp.asarray(s), 3.0, 3.0)
  np.testing.assert_allclose(jnp.diagonal(twice), 1, rtol=1e-6)
  once = curvature.to_correlation(curvature.shrink(curvature.shrink(jnp.asarray(s), 3.0, 3.0), 3.0, 3.0))
  np.testing.assert_allclose(twice, once, rtol=1e-6)


def test_distances_to_the_own_class_gaussian_are_smallest_on_separated_classes():
  rng = np.random.default_rng(1)
  centres = np.abs(rng.normal(size=(3, 8))) * 3
  y = np.repeat(np.arange(3), 40).astype(np.int32)
  x = np.abs(centres[y] + 0.2 * rng.normal(size=(120, 8))).astype(np.float32)
  fn = lambda params, inputs, **_: Outputs(inputs["x"], {"head:in": inputs["x"]})
  moments = run(curvature.class_moments(fn, 3, width=8), model_of({}, fn), batches_of(x, y, 32))
  precision = curvature.class_precisions(moments["covariance"])
  distances = losses.mahalanobis_squared(jnp.asarray(x), moments["mean"], precision)
  assert (distances.argmin(-1) == y).mean() > 0.95


def test_the_width_is_read_off_the_layer_or_asked_for():
  with pytest.raises(ValueError, match="the width of site 'pool' cannot be read off"):
    curvature.class_prototypes(mlp, 4, "pool").init(MODEL)


def test_input_covariance_is_a_sum_so_that_forget_can_be_subtracted():
  statistic = curvature.input_covariance(mlp, {"head/kernel": "head:in", "fc/kernel": "fc:in"})
  whole = run(statistic, MODEL, batches_of(X, Y, 16))
  np.testing.assert_allclose(whole["head/kernel"], Z.T @ Z, rtol=1e-4, atol=1e-4)
  part, rest = (run(statistic, MODEL, batches_of(X[s], Y[s], 16)) for s in (slice(0, 20), slice(20, 60)))
  jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a - b, c, atol=1e-3), whole, part, rest)


@pytest.mark.parametrize("strides, padding", [((1, 1), "SAME"), ((2, 2), "SAME"), ((2, 1), "VALID")])
def test_unfolded_windows_times_the_flat_kernel_are_the_convolution(strides, padding):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 6, 5, 3)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(3, 2, 3, 4)), jnp.float32)
  want = jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
  windows = curvature.unfold(x, (3, 2), strides, padding)
  np.testing.assert_allclose(windows @ kernel.reshape(-1, 4), want, atol=1e-4)


def test_covariance_of_a_convolution_has_the_size_of_its_kernel():
  def fn(params, inputs, *, capture=(), **_):
    return Outputs(inputs["x"], {"conv:in": inputs["x"]})

  x = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
  model = model_of({"conv": {"kernel": jnp.zeros((3, 3, 2, 5))}}, fn)
  found = run(curvature.input_covariance(fn, {"conv/kernel": "conv:in"}), model, batches_of(x, np.zeros(3, int), 2))
  windows = np.asarray(curvature.unfold(jnp.asarray(x), (3, 3))).reshape(-1, 18)
  np.testing.assert_allclose(found["conv/kernel"], windows.T @ windows, atol=1e-4)


def test_basis_reaches_the_energy_with_the_smallest_rank():
  root = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
  s = root @ np.diag([10.0, 5.0, 3.0, 2.0, -1e-7]) @ root.T
  for energy, rank in ((0.5, 1), (0.75, 2), (0.9, 3), (1.0, 4)):
    basis = curvature.subspace_basis(s, energy)
    assert basis.shape == (5, rank)
    np.testing.assert_allclose(basis.T @ basis, np.eye(rank), atol=1e-6)
  np.testing.assert_allclose(np.abs(curvature.subspace_basis(s, 0.5)[:, 0] @ root[:, 0]), 1, atol=1e-6)
  assert curvature.subspace_basis(np.zeros((3, 3))).shape == (3, 0)
