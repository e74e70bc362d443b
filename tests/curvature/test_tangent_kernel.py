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


def inputs(size, d=5):
  return {"x": jnp.asarray(RNG.normal(size=(size, d)))}


def jacobian_of(fn, params, x):
  flat, unravel = ravel_pytree(params)
  return jax.jacobian(lambda v: fn(unravel(v), x).logits)(flat)  # [n, C, p]


def test_every_way_of_the_kernel_is_that_of_the_jacobians():
  with enable_x64():
    params, left, right = mlp_params(sizes=(5, 4, 3), dtype=jnp.float64), inputs(4), inputs(7)
    a, b = (jacobian_of(tanh_mlp, params, x) for x in (left, right))
    want = jnp.einsum("ncp,mdp->ncmd", a, b)
    for by, rows in (("jacobian", 3), ("jacobian", 100), ("products", 3)):
      full = curvature.ntk(tanh_mlp, params, left, right, by=by, rows=rows)
      np.testing.assert_allclose(full, want, rtol=1e-10, atol=1e-12)
      trace = curvature.ntk(tanh_mlp, params, left, right, by=by, rows=rows, form="trace")
      np.testing.assert_allclose(trace, jnp.einsum("ncmc->nm", want) / 3, rtol=1e-10, atol=1e-12)
    own = curvature.ntk(tanh_mlp, params, left, rows=2).reshape(12, 12)
    np.testing.assert_allclose(own, own.T, rtol=1e-12)
    assert np.linalg.eigvalsh(own).min() > -1e-10
    v = jnp.asarray(RNG.normal(size=(7, 3)))
    for rows in (None, 3):
      found = curvature.ntk_vp(tanh_mlp, params, left, v, right, rows=rows)
      np.testing.assert_allclose(found, jnp.einsum("ncmd,md->nc", want, v), rtol=1e-10)


@pytest.mark.golden
def test_golden_kernels():
  z = golden("neural_tangents")
  params = [jnp.asarray(z["in_W1"]), jnp.asarray(z["in_W2"])]
  left, right = {"x": jnp.asarray(z["in_x1"])}, {"x": jnp.asarray(z["in_x2"])}
  scales = [lambda w: w, lambda w: w]
  fn = lambda p, batch, **_: Outputs(jnp.tanh(batch["x"] @ scales[0](p[0])) @ scales[1](p[1]))
  full = curvature.ntk(fn, params, left, right, rows=3)
  np.testing.assert_allclose(full.transpose(0, 2, 1, 3), z["out_ntkfull_JACOBIAN_CONTRACTION"], rtol=1e-4, atol=1e-5)
  trace = curvature.ntk(fn, params, left, right, form="trace")
  np.testing.assert_allclose(trace, z["out_ntk_JACOBIAN_CONTRACTION"], rtol=1e-4, atol=1e-5)


def ridge_step(fn, params, origin, task, targets, ridge, basis=None):
  """Weights after ridge regression of a linear model from where it is, written out."""
  flat, unravel = ravel_pytree(params)
  phi = jacobian_of(fn, origin, task).reshape(-1, len(flat))
  if basis is not None:
    rows = jnp.stack([ravel_pytree(jax.tree.map(lambda x, i=i: x[i], basis))[0] for i in range(3)])
    phi = phi - phi @ rows.T @ rows
  off = (targets - fn(params, task).logits).reshape(-1)
  step = phi.T @ jnp.linalg.solve(phi @ phi.T + ridge * jnp.eye(len(phi)), off)
  return unravel(flat + step)


@pytest.mark.parametrize("projected", [False, True])
def test_predicted_forgetting_is_exact_on_a_linearised_network(projected):
  with enable_x64():
    origin, ridge = mlp_params(sizes=(5, 6, 2), dtype=jnp.float64), 0.05
    net = curvature.linearize(tanh_mlp, origin)
    tasks = [(inputs(4), jnp.asarray(RNG.normal(size=(4, 2)))) for _ in range(3)]
    source, basis = tasks[0][0], None
    start = ridge_step(net, origin, origin, *tasks[0], ridge)
    if projected:  # three directions of the first task are remembered
      every = curvature.logit_jacobian(tanh_mlp, origin, source)
      basis = curvature.orthonormalize(jax.tree.map(lambda j: j.reshape(-1, *j.shape[2:])[:3], every))
    params, overlaps, one = start, [], None
    for task, targets in tasks[1:]:
      residual = targets - net(params, task).logits
      for by in ("jacobian", "products"):
        found = curvature.ntk_overlap(tanh_mlp, origin, source, task, residual, ridge=ridge, basis=basis, by=by, rows=3)
      overlaps.append(found)
      params = ridge_step(net, params, origin, task, targets, ridge, basis)
      change = net(params, source).logits - net(start, source).logits
      total, bound = curvature.total_forgetting(overlaps)
      np.testing.assert_allclose(total, jnp.sum(change**2), rtol=1e-6)
      assert float(total) <= float(bound) * (1 + 1e-9) and float(total) > 1e-4
      one = overlaps[0] if one is None else one
      np.testing.assert_allclose(one.forgetting, jnp.sum(one.change**2), rtol=1e-12)
    if projected:  # what is remembered does not change
      memory = lambda p: net(p, source).logits.reshape(-1)[:3]
      np.testing.assert_allclose(memory(params), memory(start), atol=1e-9)


def test_overlap_is_that_of_the_right_singular_vectors():
  with enable_x64():
    params, source, target = mlp_params(sizes=(5, 6, 2), dtype=jnp.float64), inputs(3), inputs(4)
    found = curvature.ntk_overlap(tanh_mlp, params, source, target)
    svd = lambda x: np.linalg.svd(jacobian_of(tanh_mlp, params, x).reshape(-1, 50), full_matrices=False)
    (_, s, v), (_, t, w) = svd(source), svd(target)
    np.testing.assert_allclose(found.singular_source, s, rtol=1e-8)
    np.testing.assert_allclose(found.singular_target, t, rtol=1e-8)
    np.testing.assert_allclose(np.abs(found.matrix), np.abs(v @ w.T), atol=1e-7)
    np.testing.assert_allclose(found.cosines, np.linalg.svd(v @ w.T, compute_uv=False), atol=1e-7)
    np.testing.assert_allclose(jnp.cos(found.angles), found.cosines, atol=1e-9)
    same = curvature.ntk_overlap(tanh_mlp, params, source, source)
    np.testing.assert_allclose(same.matrix, np.eye(6), atol=1e-6)
    assert float(same.forgetting) == 0.0


def test_tasks_on_disjoint_inputs_of_a_linear_model_do_not_meet():
  params = {"kernel": jnp.zeros((4, 2))}
  a, b = jnp.zeros((3, 4)).at[:, :2].set(1 + jnp.eye(3)[:, :2]), jnp.zeros((2, 4)).at[:, 2:].set(jnp.eye(2))
  found = curvature.ntk_overlap(linear, params, {"x": a}, {"x": b}, jnp.ones((2, 2)))
  assert float(found.cosines.max()) == 0 and float(found.forgetting) == 0
  np.testing.assert_allclose(found.angles, np.pi / 2, rtol=1e-5)


def test_linearisation_touches_the_model_and_is_linear():
  with enable_x64():
    origin, x = mlp_params(sizes=(5, 4, 3), dtype=jnp.float64), inputs(6)
    move = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape)), origin)
    held, read = curvature.linearize(tanh_mlp, origin), curvature.linearize(tanh_mlp)
    at = lambda t: held(trees.add(origin, t, move), x).logits
    np.testing.assert_allclose(at(0.0), tanh_mlp(origin, x).logits, rtol=1e-12)
    np.testing.assert_allclose(at(2.0) - at(0.0), 2 * (at(1.0) - at(0.0)), rtol=1e-9)
    near = tanh_mlp(trees.add(origin, 1e-5, move), x).logits
    np.testing.assert_allclose(at(1e-5), near, atol=1e-8)
    np.testing.assert_allclose(at(3.0), read(trees.add(origin, 3.0, move), x, refs={"origin": origin}).logits)
    out = held(trees.add(origin, 1.0, move), x, capture=("head:in",))
    along = jax.jvp(lambda p: tanh_mlp(p, x, capture=("head:in",)).hidden["head:in"], (origin,), (move,))
    np.testing.assert_allclose(out.hidden["head:in"], along[0] + along[1], rtol=1e-10)
    far = jax.tree.map(lambda p: 5 * p, origin)  # its kernel does not move
    np.testing.assert_allclose(curvature.ntk(held, far, x), curvature.ntk(tanh_mlp, origin, x), rtol=1e-9)
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
