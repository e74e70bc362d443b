"""Products with the Gauss-Newton matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import linear, mlp, mlp_params, random_role, role, view

from unlearnjax import curvature, losses


def stacked(batch, parts):
  return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)


def dense(fn, params, batch):
  """sum over valid rows of J^T (diag p - p p^T) J / n, written out over flat parameters."""
  flat, unravel = jax.flatten_util.ravel_pytree(params)
  logits = lambda v: fn(unravel(v), batch["inputs"]).logits
  jacobian, probs = jax.jacobian(logits)(flat), jax.nn.softmax(logits(flat))
  middle = jax.vmap(jnp.diag)(probs) - probs[:, :, None] * probs[:, None, :]
  keep = batch["valid"].astype(jnp.float32)
  return jnp.einsum("b,bcp,bcd,bdq->pq", keep, jacobian, middle, jacobian) / keep.sum(), unravel


def test_equals_the_matrix_written_out_and_padding_does_not_count():
  params, batch = mlp_params(), random_role(size=12)
  batch = {**batch, "valid": jnp.arange(12) < 9, "y": batch["y"].at[9:].set(-1)}  # padded rows hold no label
  matrix, unravel = dense(mlp, params, batch)
  vector = np.random.default_rng(0).normal(size=len(matrix)).astype(np.float32)
  product = jax.jit(lambda p, b, v: curvature.mean_ggn(mlp, losses.cross_entropy, p, b, v, view()))
  found = product(params, stacked(batch, 3), unravel(vector))
  np.testing.assert_allclose(jax.flatten_util.ravel_pytree(found)[0], matrix @ vector, rtol=1e-3, atol=1e-5)


def test_is_positive_and_equals_the_hessian_of_a_linear_model():
  batch = random_role(size=8)
  params = {"kernel": jnp.asarray(np.random.default_rng(2).normal(size=(6, 4)), jnp.float32)}
  vector = jax.tree.map(jnp.ones_like, params)
  loss = lambda p: losses.cross_entropy(linear(p, batch["inputs"]).logits, batch["y"]).mean()
  found = curvature.mean_ggn(linear, losses.cross_entropy, params, stacked(batch, 2), vector, view())
  np.testing.assert_allclose(found["kernel"], curvature.hvp(loss, params, vector)["kernel"], atol=1e-5)
  assert float(jnp.vdot(found["kernel"], vector["kernel"])) >= -1e-6


def test_bfloat16_weights_give_a_float32_product():
  params = mlp_params(dtype=jnp.bfloat16)
  vector = jax.tree.map(lambda p: jnp.ones(p.shape, jnp.float32), params)
  batch = stacked(random_role(size=4), 1)
  found = curvature.mean_ggn(mlp, losses.cross_entropy, params, batch, vector, view())
  assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}


def test_a_vector_of_another_structure():
  batch = stacked(role(np.ones((2, 6), np.float32), y=np.zeros(2, np.int32)), 1)
  with pytest.raises(ValueError, match="vector must have the structure of params"):
    curvature.mean_ggn(mlp, losses.cross_entropy, mlp_params(), batch, {"kernel": 1}, view())
