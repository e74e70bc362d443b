"""The neural tangent kernel, and the forgetting it predicts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from jax import enable_x64
from jax.flatten_util import ravel_pytree
from toy_net import linear, mlp_params, tanh_mlp

from unlearnjax import curvature
from unlearnjax.core.types import Outputs
from unlearnjax.curvature import trees

RNG = np.random.default_rng(0)
BY = ("jacobian", "products")


def inputs(size, d=5):
  return {"x": jnp.asarray(RNG.normal(size=(size, d)))}


def jacobian_of(fn, params, x):
  flat, unravel = ravel_pytree(params)
  return jax.jacobian(lambda v: fn(unravel(v), x).logits)(flat)  # [n, C, p]


def test_every_way_of_the_kernel_is_that_of_the_jacobians():
  ways = (("jacobian", 3), ("jacobian", 100), ("products", 3))

  @jax.jit
  def everything(params, left, right, v):
    a, b = (jacobian_of(tanh_mlp, params, x) for x in (left, right))
    ntk = lambda *xs, **options: curvature.ntk(tanh_mlp, params, *xs, **options)
    full = [ntk(left, right, by=by, rows=rows) for by, rows in ways]
    trace = [ntk(left, right, by=by, rows=rows, form="trace") for by, rows in ways]
    vp = [curvature.ntk_vp(tanh_mlp, params, left, v, right, rows=rows) for rows in (None, 3)]
    return jnp.einsum("ncp,mdp->ncmd", a, b), full, trace, vp, ntk(left, rows=2).reshape(12, 12)

  with enable_x64():
    v = jnp.asarray(RNG.normal(size=(7, 3)))
    found = everything(mlp_params(sizes=(5, 4, 3), dtype=jnp.float64), inputs(4), inputs(7), v)
    want, full, trace, vp, own = jax.tree.map(np.asarray, found)
  for one in full:
    np.testing.assert_allclose(one, want, rtol=1e-10, atol=1e-12)
  for one in trace:
    np.testing.assert_allclose(one, np.einsum("ncmc->nm", want) / 3, rtol=1e-10, atol=1e-12)
  for one in vp:
    np.testing.assert_allclose(one, np.einsum("ncmd,md->nc", want, v), rtol=1e-10)
  np.testing.assert_allclose(own, own.T, rtol=1e-12)
  assert np.linalg.eigvalsh(own).min() > -1e-10


@pytest.mark.golden
def test_golden_kernels():
  z = golden("neural_tangents")
  params = [jnp.asarray(z["in_W1"]), jnp.asarray(z["in_W2"])]
  left, right = {"x": jnp.asarray(z["in_x1"])}, {"x": jnp.asarray(z["in_x2"])}
  fn = lambda p, batch, **_: Outputs(jnp.tanh(batch["x"] @ p[0]) @ p[1])
  full = jax.jit(lambda p: curvature.ntk(fn, p, left, right, rows=3))(params)
  np.testing.assert_allclose(full.transpose(0, 2, 1, 3), z["out_ntkfull_JACOBIAN_CONTRACTION"], rtol=1e-4, atol=1e-5)
  trace = jax.jit(lambda p: curvature.ntk(fn, p, left, right, form="trace"))(params)
  np.testing.assert_allclose(trace, z["out_ntk_JACOBIAN_CONTRACTION"], rtol=1e-4, atol=1e-5)


def ridge_step(net, params, origin, task, targets, ridge, basis):
  """Weights after ridge regression of a linear model from where it is, written out; basis f[r, p]."""
  flat, unravel = ravel_pytree(params)
  phi = jacobian_of(net, origin, task).reshape(-1, len(flat))
  phi = phi - phi @ basis.T @ basis
  off = (targets - net(params, task).logits).reshape(-1)
  return unravel(flat + phi.T @ jnp.linalg.solve(phi @ phi.T + ridge * jnp.eye(len(phi)), off))


@pytest.mark.parametrize("projected", [False, True])
def test_predicted_forgetting_is_exact_on_a_linearised_network(projected):
  with enable_x64():
    origin, ridge = mlp_params(sizes=(5, 6, 2), dtype=jnp.float64), 0.05
    net = curvature.linearize(tanh_mlp, origin)
    (source, first), *later = [(inputs(4), jnp.asarray(RNG.normal(size=(4, 2)))) for _ in range(3)]
    learn = jax.jit(lambda p, x, y, b: ridge_step(net, p, origin, x, y, ridge, b))
    logits = jax.jit(lambda p, x: net(p, x).logits)
    remembered = jnp.zeros((3, len(ravel_pytree(origin)[0])))
    start, basis = learn(origin, source, first, remembered), None
    if projected:  # three directions of the first task are remembered
      every = jax.jit(lambda p, x: curvature.logit_jacobian(tanh_mlp, p, x))(origin, source)
      basis = jax.jit(curvature.orthonormalize)(jax.tree.map(lambda j: j.reshape(-1, *j.shape[2:])[:3], every))
      remembered = jax.vmap(lambda b: ravel_pytree(b)[0])(basis)

    @jax.jit
    def predict(x, residual, basis):
      options = dict(ridge=ridge, basis=basis, rows=3)
      return [curvature.ntk_overlap(tanh_mlp, origin, source, x, residual, by=by, **options) for by in BY]

    params, overlaps = start, []
    for task, targets in later:
      dense, by_products = predict(task, targets - logits(params, task), basis)
      np.testing.assert_allclose(by_products.change, dense.change, rtol=1e-8, atol=1e-10)
      overlaps.append(dense)
      params = learn(params, task, targets, remembered)
      change = np.asarray(logits(params, source) - logits(start, source))
      total, bound = curvature.total_forgetting(overlaps)
      np.testing.assert_allclose(total, np.sum(change**2), rtol=1e-6)
      assert 1e-4 < float(total) <= float(bound) * (1 + 1e-9)
    np.testing.assert_allclose(overlaps[0].forgetting, np.sum(np.asarray(overlaps[0].change) ** 2), rtol=1e-12)
    if projected:  # what is remembered does not change
      assert np.abs(change.reshape(-1)[:3]).max() < 1e-9 < np.abs(change).max()


def test_overlap_is_that_of_the_right_singular_vectors():
  overlap = jax.jit(lambda p, a, b: curvature.ntk_overlap(tanh_mlp, p, a, b))
  with enable_x64():
    params, source, target = mlp_params(sizes=(5, 6, 2), dtype=jnp.float64), inputs(4), inputs(4)
    jacobian = jax.jit(lambda x: jacobian_of(tanh_mlp, params, x).reshape(8, -1))
    (_, s, v), (_, t, w) = (np.linalg.svd(jacobian(x), full_matrices=False) for x in (source, target))
    found, same = overlap(params, source, target), overlap(params, source, source)
  np.testing.assert_allclose(found.singular_source, s, rtol=1e-8)
  np.testing.assert_allclose(found.singular_target, t, rtol=1e-8)
  np.testing.assert_allclose(np.abs(found.matrix), np.abs(v @ w.T), atol=1e-7)
  np.testing.assert_allclose(found.cosines, np.linalg.svd(v @ w.T, compute_uv=False), atol=1e-7)
  np.testing.assert_allclose(np.cos(found.angles), found.cosines, atol=1e-9)
  np.testing.assert_allclose(same.matrix, np.eye(8), atol=1e-6)
  assert float(same.forgetting) == 0.0


def test_tasks_on_disjoint_inputs_of_a_linear_model_do_not_meet():
  a, b = np.zeros((3, 4), np.float32), np.zeros((2, 4), np.float32)
  a[:, :2], b[:, 2:] = 1 + np.eye(3)[:, :2], np.eye(2)
  overlap = jax.jit(lambda p, a, b, y: curvature.ntk_overlap(linear, p, {"x": a}, {"x": b}, y))
  found = overlap({"kernel": jnp.zeros((4, 2))}, a, b, jnp.ones((2, 2)))
  assert float(found.cosines.max()) == 0 and float(found.forgetting) == 0
  np.testing.assert_allclose(found.angles, np.pi / 2, rtol=1e-5)


def test_linearisation_touches_the_model_and_is_linear():
  with enable_x64():
    origin, x = mlp_params(sizes=(5, 4, 3), dtype=jnp.float64), inputs(6)
    move = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape)), origin)
    held, read = curvature.linearize(tanh_mlp, origin), curvature.linearize(tanh_mlp)
    at = jax.jit(lambda t: held(trees.add(origin, t, move), x).logits)
    np.testing.assert_allclose(at(0.0), tanh_mlp(origin, x).logits, rtol=1e-12)
    np.testing.assert_allclose(at(2.0) - at(0.0), 2 * (at(1.0) - at(0.0)), rtol=1e-9)
    near = tanh_mlp(trees.add(origin, 1e-5, move), x).logits
    np.testing.assert_allclose(at(1e-5), near, atol=1e-8)
    np.testing.assert_allclose(at(3.0), read(trees.add(origin, 3.0, move), x, refs={"origin": origin}).logits)
    out = held(trees.add(origin, 1.0, move), x, capture=("head:in",))
    along = jax.jvp(lambda p: tanh_mlp(p, x, capture=("head:in",)).hidden["head:in"], (origin,), (move,))
    np.testing.assert_allclose(out.hidden["head:in"], along[0] + along[1], rtol=1e-10)
    far = jax.tree.map(lambda p: 5 * p, origin)  # its kernel does not move
    kernels = jax.jit(lambda p, o: (curvature.ntk(held, p, x), curvature.ntk(tanh_mlp, o, x)))(far, origin)
    np.testing.assert_allclose(*kernels, rtol=1e-9)
  with pytest.raises(ValueError, match=r"needs its origin in refs\['origin'\]; found \[\]"):
    read(mlp_params(), {"x": jnp.ones((1, 6))})
  with pytest.raises(ValueError, match="params must have the structure of the origin"):
    held({"fc": 1}, {"x": jnp.ones((1, 5))})


def test_messages():
  params, x = mlp_params(sizes=(5, 4, 3)), {"x": jnp.ones((2, 5))}
  with pytest.raises(ValueError, match="form must be one of full, trace; got 'diagonal'"):
    curvature.ntk(tanh_mlp, params, x, form="diagonal")
  with pytest.raises(ValueError, match="rows must be > 0, got 0"):
    curvature.ntk(tanh_mlp, params, x, rows=0)
  with pytest.raises(ValueError, match=r"cotangent must have the shape of the outputs \(2, 3\), got \(2, 2\)"):
    curvature.ntk_vp(tanh_mlp, params, x, jnp.ones((2, 2)))
  with pytest.raises(ValueError, match="ridge must be > 0, got 0"):
    curvature.ntk_overlap(tanh_mlp, params, x, x, ridge=0)
  with pytest.raises(ValueError, match=r"residual must have the shape of the outputs on target \(2, 3\), got \(2,\)"):
    curvature.ntk_overlap(tanh_mlp, params, x, x, jnp.ones(2))
  with pytest.raises(ValueError, match="overlaps is empty"):
    curvature.total_forgetting([])
