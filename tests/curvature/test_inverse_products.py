from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from jax.flatten_util import ravel_pytree
from toy_net import from_torch, linear, mlp_params, random_role, role, tanh_mlp, view

from unlearnjax import curvature, objectives

PARAMS, BATCH = mlp_params(sizes=(6, 5, 4)), random_role()
XENT = objectives.cross_entropy(tanh_mlp, train=False)
FLAT, UNRAVEL = ravel_pytree(PARAMS)
RNG = np.random.default_rng(0)


def _vector(seed):
  return jnp.asarray(np.random.default_rng(seed).normal(size=FLAT.shape), jnp.float32)


def test_per_example_gradients_average_to_the_gradient_and_skip_invalid_rows():
  batch = {**BATCH, "valid": jnp.arange(12) < 9}
  each = curvature.per_example_gradients(XENT, PARAMS, batch, view())
  assert not each["fc"]["kernel"][9:].any()
  want = jax.grad(XENT, has_aux=True)(PARAMS, batch, view())[0]
  jax.tree.map(lambda e, w: np.testing.assert_allclose(e.sum(0) / 9, w, atol=1e-6), each, want)


@pytest.mark.parametrize("damping, count", [(1.0, None), (0.3, None), (1.0, 1000)])
def test_woodfisher_is_the_inverse_and_equals_the_published_recursion(damping, count):
  each = curvature.per_example_gradients(XENT, PARAMS, BATCH, view())
  v = _vector(5)
  found = ravel_pytree(curvature.woodfisher(each, UNRAVEL(v), damping=damping, count=count))[0]
  g = np.concatenate([np.asarray(x, np.float64).reshape(12, -1) for x in jax.tree.leaves(each)], 1)
  n = count or 12
  dense = damping * np.eye(g.shape[1]) + g.T @ g / n
  np.testing.assert_allclose(found, np.linalg.solve(dense, v), rtol=1e-3, atol=1e-4)
  inverse = np.eye(g.shape[1]) / damping
  for row in g:
    along = inverse @ row
    inverse = inverse - np.outer(along, along) / (n + row @ along)
  np.testing.assert_allclose(found, inverse @ v, rtol=1e-3, atol=1e-4)


def test_rank2_stays_in_the_span_of_the_vector_and_the_first_gradient():
  each = curvature.per_example_gradients(XENT, PARAMS, BATCH, view())
  v = _vector(6)
  found = ravel_pytree(curvature.woodfisher(each, UNRAVEL(v), compat="rank2"))[0]
  first = ravel_pytree(jax.tree.map(lambda x: x[0], each))[0]
  span = np.stack([v, first], 1)
  rest = found - span @ np.linalg.lstsq(span, np.asarray(found), rcond=None)[0]
  np.testing.assert_allclose(rest, 0, atol=1e-4)
  with pytest.raises(ValueError, match="defined for damping 1, got 2"):
    curvature.woodfisher(each, UNRAVEL(v), damping=2, compat="rank2")


@pytest.mark.golden
def test_golden_woodfisher_vector():
  z = golden("influence_fisher_leace")
  params = from_torch(z, "in_w__")

  def tree(v):  # torch order: 0.weight [6, 4], 0.bias, 2.weight [3, 6], 2.bias
    return {
      "fc": {"kernel": jnp.asarray(v[:24].reshape(6, 4).T), "bias": jnp.asarray(v[24:30])},
      "head": {"kernel": jnp.asarray(v[30:48].reshape(3, 6).T), "bias": jnp.asarray(v[48:])},
    }

  each = curvature.per_example_gradients(XENT, params, role(z["in_xr"], y=z["in_yr"].astype(np.int32)), view())
  found = curvature.woodfisher(each, tree(z["in_v"]), count=1000, compat="rank2")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, tree(z["out_woodfisher_v"]))
  true = curvature.woodfisher(each, tree(z["in_v"]), count=1000)
  assert max(jnp.abs(a - b).max() for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(true))) > 1e-3


def test_jacobian_and_kernel_agree_with_products():
  x = BATCH["inputs"]
  jacobian = curvature.logit_jacobian(tanh_mlp, PARAMS, x)
  v = UNRAVEL(_vector(7))
  along = jax.jvp(lambda p: tanh_mlp(p, x).logits, (PARAMS,), (v,))[1]
  dots = jax.tree.map(lambda j, u: jnp.tensordot(j, u, u.ndim), jacobian, v)
  np.testing.assert_allclose(sum(jax.tree.leaves(dots)), along, atol=1e-4)
  gram = curvature.ntk_gram(jacobian).reshape(48, 48)
  np.testing.assert_allclose(gram, gram.T, atol=1e-4)
  flat = np.concatenate([np.asarray(j).reshape(48, -1) for j in jax.tree.leaves(jacobian)], 1)
  np.testing.assert_allclose(gram, flat @ flat.T, rtol=1e-4, atol=1e-4)


def test_ridge_displacement_is_ridge_regression_on_the_kept_rows():
  x, y, wd = RNG.normal(size=(9, 4)), RNG.normal(size=(9, 2)), 0.3
  kernel = jnp.zeros((4, 2))
  jacobian = curvature.logit_jacobian(linear, {"kernel": kernel}, {"x": jnp.asarray(x, jnp.float32)})
  for keep in (np.ones(9, bool), np.arange(9) < 6):
    found = curvature.ridge_displacement(jacobian, -jnp.asarray(y, jnp.float32), wd, jnp.asarray(keep))["kernel"]
    a, b = x[keep], y[keep]
    np.testing.assert_allclose(found, np.linalg.solve(a.T @ a + len(a) * wd * np.eye(4), a.T @ b), rtol=1e-4, atol=1e-5)
