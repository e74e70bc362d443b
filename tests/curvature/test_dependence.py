"""Conditional dependence, the variables it chooses, and the slices of a network it points at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from toy_net import mlp_params, role, tanh_mlp, view

from unlearnjax import curvature, losses


def written_out(y, z, x=None):
  """The coefficient by loops, from the definition."""
  n = len(y)
  z = z.reshape(n, -1)
  rank = np.array([(y <= v).sum() for v in y])
  least = np.array([(y >= v).sum() for v in y])

  def nearest(points, i):
    away = ((points - points[i]) ** 2).sum(1)
    away[i] = np.inf
    return int(np.argmin(away))

  if x is None:
    m = [nearest(z, i) for i in range(n)]
    top = sum(n * min(rank[i], rank[m[i]]) - least[i] ** 2 for i in range(n))
    return top / sum(least[i] * (n - least[i]) for i in range(n))
  x = x.reshape(n, -1)
  both = np.concatenate([x, z], 1)
  without = [min(rank[i], rank[nearest(x, i)]) for i in range(n)]
  with_z = [min(rank[i], rank[nearest(both, i)]) for i in range(n)]
  return (np.array(with_z) - without).sum() / (rank - np.array(without)).sum()


def test_equals_the_definition_written_out():
  rng = np.random.default_rng(0)
  y, z, x = rng.normal(size=40), rng.normal(size=(40, 2)), rng.normal(size=40)
  codec = jax.jit(curvature.codec)
  np.testing.assert_allclose(codec(y, z), written_out(y, z), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(codec(y, z, x), written_out(y, z, x), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(codec(np.round(y), z), written_out(np.round(y), z), rtol=1e-4, atol=1e-6)


def test_independent_given_and_function():
  a, b, c = jax.random.uniform(jax.random.key(0), (3, 1000))
  y = (a + b) % 1
  codec = jax.jit(curvature.codec)
  assert abs(float(codec(y, b))) < 0.1  # neither alone tells anything
  assert float(codec(y, jnp.stack([a, b], 1))) > 0.8
  assert float(codec(y, a, b)) > 0.8
  assert abs(float(codec(y + 3 * b, c, b))) < 0.15 and float(codec(y, c, jnp.stack([a, b], 1))) < 0
  assert float(codec(jnp.ones(1000), a)) == 0.0


def test_the_blanket_of_a_sum_is_its_terms():
  rng = np.random.default_rng(1)
  x = rng.uniform(size=(400, 6)).astype(np.float32)
  found = jax.jit(curvature.foci)(x, x[:, 1] + x[:, 4])
  assert set(found.order[:2].tolist()) == {1, 4} and found.selected[jnp.array([1, 4])].all()
  assert int(found.count) == int(found.selected.sum()) == int((found.order >= 0).sum())
  assert bool((found.gains[: int(found.count)] > 0).all())
  first = jax.jit(lambda x: curvature.foci(x, x[:, 3], limit=1))(x)
  assert first.order.tolist() == [3] and float(first.gains[0]) > 0.9


def test_noise_breaks_ties():
  rng = np.random.default_rng(2)
  x = rng.integers(0, 2, size=(300, 4)).astype(np.float32)
  found = jax.jit(lambda x, k: curvature.foci(x, x[:, 2], jitter=0.01, key=k, limit=1))(x, jax.random.key(0))
  assert found.order.tolist() == [2]
  with pytest.raises(ValueError, match="jitter needs a key"):
    curvature.foci(x, x[:, 2], jitter=0.01)


def test_messages_of_the_coefficient():
  with pytest.raises(ValueError, match=r"y must be f\[n\] with n >= 2, got shape \(1,\)"):
    curvature.codec(jnp.ones(1), jnp.ones(1))
  with pytest.raises(ValueError, match=r"x must be f\[3\] or f\[3, q\] like y, got shape \(4,\)"):
    curvature.codec(jnp.ones(3), jnp.ones(3), jnp.ones(4))
  with pytest.raises(ValueError, match=r"got shapes \(3,\) and \(3,\)"):
    curvature.foci(jnp.ones(3), jnp.ones(3))
  with pytest.raises(ValueError, match="limit must be > 0, got 0"):
    curvature.foci(jnp.ones((3, 2)), jnp.ones(3), limit=0)


def test_units_that_the_loss_does_not_read_are_not_chosen():
  """Only unit 2 of the hidden layer reaches the logits."""
  params = mlp_params(sizes=(6, 5, 4))
  dead = jnp.arange(5)[:, None] == 2
  params["head"] = {**params["head"], "kernel": jnp.where(dead, params["head"]["kernel"], 0)}
  row = role(np.random.default_rng(3).normal(size=(1, 6)).astype(np.float32), y=np.array([1]))
  find = jax.jit(
    lambda p, row, v: curvature.markov_blanket(
      tanh_mlp, losses.cross_entropy, p, row, ("fc",), v, copies=300, noise=0.3, jitter=1e-4
    )
  )
  found = find(params, row, view())["fc"]
  assert bool(found[2]) and int(found.sum()) <= 2
  limited = lambda p: curvature.markov_blanket(
    tanh_mlp, losses.cross_entropy, p, row, ("fc:in", "fc"), view(), copies=50, limit=1
  )
  found = jax.jit(limited)(params)
  assert found["fc:in"].shape == (6,) and found["fc"].shape == (5,)
  assert int(sum(x.sum() for x in found.values())) <= 1


def test_slices_are_columns_and_biases():
  params = mlp_params(sizes=(6, 5, 4))
  mask = curvature.slice_mask(params, {"fc": jnp.arange(5) == 3})
  assert mask["fc"]["kernel"].sum(0).tolist() == [0, 0, 0, 6, 0] and mask["fc"]["bias"].tolist() == [0, 0, 0, 1, 0]
  assert not mask["head"]["kernel"].any() and mask["head"]["bias"].shape == (4,)
  with pytest.raises(ValueError, match="layer 'fc' has 3 units"):
    curvature.slice_mask(params, {"fc": jnp.ones(3, bool)})
  with pytest.raises(ValueError, match="no sub-tree 'body'"):
    curvature.slice_mask(params, {"body": jnp.ones(3, bool)})
  row = role(np.ones((2, 6), np.float32), y=np.array([1, 1]))
  with pytest.raises(ValueError, match="row must be a role batch of one row, got 2"):
    curvature.markov_blanket(tanh_mlp, losses.cross_entropy, params, row, ("fc",), view())


def test_bases_are_orthonormal_also_for_nearly_parallel_vectors():
  rng = np.random.default_rng(0)
  near = np.ones((1, 40)) + 1e-3 * rng.normal(size=(8, 40))
  vectors = {"a": jnp.asarray(near[:, :12].reshape(8, 3, 4), jnp.float32), "b": jnp.asarray(near[:, 12:], jnp.float32)}
  flat = lambda t: np.concatenate([np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(t)], 1)
  orthonormalize = jax.jit(curvature.orthonormalize)
  basis = orthonormalize(vectors)
  np.testing.assert_allclose(flat(basis) @ flat(basis).T, np.eye(8), atol=2e-6)
  more = orthonormalize(jax.tree.map(lambda x: x[:3] + jnp.flip(x[:3], -1), vectors), basis)
  assert np.abs(flat(more) @ flat(basis).T).max() < 2e-6
  v = jax.tree.map(lambda x: x[0] ** 2, vectors)
  rest = jax.jit(curvature.project_out)(v, basis)
  along = sum(np.vdot(a, b[3]) for a, b in zip(jax.tree.leaves(rest), jax.tree.leaves(basis)))
  assert abs(along) < 1e-5
  repeated = orthonormalize(jax.tree.map(lambda x: x[jnp.array([0, 0, 1])], vectors))
  assert not np.any(flat(repeated)[1])
  with pytest.raises(ValueError, match="basis must have the structure of vector"):
    curvature.project_out(v, basis["a"])
  with pytest.raises(ValueError, match="must share a leading axis"):
    curvature.orthonormalize({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))})


@pytest.mark.golden
def test_golden_orthonormalisation_and_projection():
  z = golden("ogd")
  with jax.enable_x64():
    basis = jax.jit(curvature.orthonormalize)(jnp.asarray(z["in_V"].T))
    np.testing.assert_allclose(basis.T, z["out_Q"], atol=1e-10)
    g = jnp.asarray(z["in_g"])
    rest = curvature.project_out(g, basis)
    np.testing.assert_allclose(rest, z["out_ogd_grad"], atol=1e-10)
    np.testing.assert_allclose(g - rest, z["out_proj"], atol=1e-10)
