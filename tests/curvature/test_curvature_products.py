"""Products with Hessians, Gauss-Newton matrices and Jacobians equal the matrices written out, however data is cut."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import enable_x64
from jax.flatten_util import ravel_pytree
from toy_net import linear, mlp_params, random_role, role, tanh_mlp, view

from unlearnjax import curvature, losses, objectives

SIZE, VALID = 11, 8
XENT = objectives.cross_entropy(tanh_mlp, train=False)
ROWS = (None, 4, 1)
NAMES = ("hvp", "ggn", "jacobian", "transpose")


def world():
  """Weights, a batch with padded rows whose labels are no labels, a vector and a cotangent, all in float64."""
  rng = np.random.default_rng(0)
  params = mlp_params(sizes=(5, 4, 3), dtype=jnp.float64)
  y = np.where(np.arange(SIZE) < VALID, rng.integers(0, 3, SIZE), -7)
  batch = role(rng.normal(size=(SIZE, 5)), np.arange(SIZE) < VALID, y=y)
  vector = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)
  return params, batch, vector, jnp.asarray(rng.normal(size=(SIZE, 3)))


@functools.partial(jax.jit, static_argnames="rows")
def products(params, batch, vector, cotangent, rows):
  """All products at once, so that they share a compilation."""
  return {
    "hvp": curvature.hvp(XENT, params, batch, vector, view(), microbatch=rows),
    "ggn": curvature.ggn_vp(tanh_mlp, losses.cross_entropy, params, batch, vector, microbatch=rows),
    "jacobian": curvature.jacobian_vp(tanh_mlp, params, batch, vector, microbatch=rows),
    "transpose": curvature.jacobian_tvp(tanh_mlp, params, batch, cotangent, microbatch=rows),
  }


@pytest.fixture(scope="module")
def found():
  with enable_x64():
    params, batch, vector, cotangent = world()
    flat, unravel = ravel_pytree(params)
    rows = slice(0, VALID)
    logits = lambda v: tanh_mlp(unravel(v), batch["inputs"]).logits[rows]
    loss = lambda v: losses.cross_entropy(logits(v), batch["y"][rows]).mean()
    jacobian, probs = jax.jacobian(logits)(flat), jax.nn.softmax(logits(flat))
    middle = jax.vmap(jnp.diag)(probs) - probs[:, :, None] * probs[:, None, :]
    v = ravel_pytree(vector)[0]
    ggn = jnp.einsum("bcp,bcd,bdq->pq", jacobian, middle, jacobian) / VALID
    along = jnp.zeros((SIZE, 3)).at[rows].set(jacobian @ v)
    dense = {
      "hvp": jax.hessian(loss)(flat) @ v,
      "ggn": ggn @ v,
      "jacobian": along.ravel(),
      "transpose": jnp.einsum("bcp,bc->p", jacobian, cotangent[rows]),
    }
    by_rows = {}
    for rows in ROWS:
      each = products(params, batch, vector, cotangent, rows)
      by_rows[rows] = {name: np.asarray(ravel_pytree(x)[0]) for name, x in each.items()}
  return dense, by_rows


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", ROWS)
def test_equals_the_matrix_written_out_for_any_microbatch(found, name, rows):
  dense, by_rows = found
  np.testing.assert_allclose(by_rows[rows][name], dense[name], rtol=1e-10, atol=1e-13)


def test_symmetric_and_transposed():
  with enable_x64():
    params, batch, v, cotangent = world()
    u = jax.tree.map(lambda x: jnp.cos(7 * x), v)
    dot = curvature.trees.dot
    of_u, of_v = (products(params, batch, x, cotangent, None) for x in (u, v))
    for name in ("hvp", "ggn"):
      np.testing.assert_allclose(dot(u, of_v[name]), dot(v, of_u[name]), rtol=1e-10)
    assert dot(v, of_v["ggn"]) > 0
    masked = jnp.where(batch["valid"][:, None], cotangent, 0)
    np.testing.assert_allclose(jnp.vdot(of_v["jacobian"], masked), dot(v, of_v["transpose"]), rtol=1e-10)


def test_both_matrices_are_one_for_a_model_that_is_linear_in_its_weights():
  params = {"kernel": jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)), jnp.float32)}
  batch, v = random_role(size=8), {"kernel": jnp.ones((6, 4))}
  hessian = curvature.hvp(objectives.cross_entropy(linear, train=False), params, batch, v, microbatch=3)
  ggn = curvature.ggn_vp(linear, losses.cross_entropy, params, batch, v, microbatch=3)
  np.testing.assert_allclose(ggn["kernel"], hessian["kernel"], atol=1e-6)


def test_a_scalar_function():
  f = lambda x: jnp.sum(x["a"] ** 3) * x["b"]
  params, v = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}, {"a": jnp.array([1.0, -1.0]), "b": jnp.array(2.0)}
  flat, unravel = ravel_pytree(params)
  want = jax.hessian(lambda x: f(unravel(x)))(flat) @ ravel_pytree(v)[0]
  np.testing.assert_allclose(ravel_pytree(curvature.scalar_hvp(f, params, v))[0], want, rtol=1e-5)


def test_bfloat16_weights_give_float32_products():
  params = mlp_params(dtype=jnp.bfloat16)
  v = jax.tree.map(lambda p: jnp.ones(p.shape, jnp.float32), params)
  batch = random_role(size=4)
  found = jax.eval_shape(
    lambda p: (
      curvature.ggn_vp(tanh_mlp, losses.cross_entropy, p, batch, v, microbatch=2),
      curvature.hvp(XENT, p, batch, v, microbatch=2),
      curvature.hvp(XENT, p, batch, v),
      curvature.jacobian_vp(tanh_mlp, p, batch, v),
      curvature.jacobian_tvp(tanh_mlp, p, batch, jnp.ones((4, 4))),
    ),
    params,
  )
  assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}


def test_an_empty_batch_gives_zeros():
  params, batch = mlp_params(), {**random_role(size=4), "valid": jnp.zeros(4, bool)}
  found = jax.jit(
    lambda p: (
      curvature.hvp(XENT, p, batch, p, microbatch=2),
      curvature.ggn_vp(tanh_mlp, losses.cross_entropy, p, batch, p),
      curvature.jacobian_vp(tanh_mlp, p, batch, p),
    )
  )(params)
  assert not any(np.any(np.asarray(x)) for x in jax.tree.leaves(found))


def test_messages():
  params, batch = mlp_params(), random_role(size=4)
  wrong = jax.tree.map(lambda p: p[..., :1], params)
  for call in (
    lambda v: curvature.hvp(XENT, params, batch, v),
    lambda v: curvature.ggn_vp(tanh_mlp, losses.cross_entropy, params, batch, v),
    lambda v: curvature.jacobian_vp(tanh_mlp, params, batch, v),
    lambda v: curvature.scalar_hvp(lambda p: 0.0, params, v),
  ):
    with pytest.raises(ValueError, match="vector must have the structure of params"):
      call({"kernel": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"vector at 'fc/bias' has shape \(1,\), params has \(16,\)"):
      call(wrong)
  with pytest.raises(ValueError, match=r"cotangent must have the shape of the outputs \(4, 4\), got \(3, 4\)"):
    curvature.jacobian_tvp(tanh_mlp, params, batch, jnp.ones((3, 4)))
  with pytest.raises(ValueError, match="microbatch must be > 0, got 0"):
    curvature.hvp(XENT, params, batch, params, microbatch=0)
  with pytest.raises(ValueError, match="no column 'valid'"):
    curvature.hvp(XENT, params, {"inputs": batch["inputs"], "y": batch["y"]}, params)
  with pytest.raises(ValueError, match="build it with train=False"):
    trained = objectives.cross_entropy(tanh_mlp)
    curvature.hvp(trained, params, batch, params, view(state={"count": jnp.array(0)}))
  with pytest.raises(ValueError, match=r"reports aux\['weight'\]"):
    curvature.hvp(lambda p, b, v: (jnp.sum(p["fc"]["bias"] ** 2), {}), params, batch, params, microbatch=2)
