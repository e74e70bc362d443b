"""Solvers: the right solution, or a flag that says it is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import enable_x64
from toy_net import linear, mlp_params, random_role, role, tanh_mlp, view

from unlearnjax import curvature, edits, losses, objectives
from unlearnjax.curvature import trees

RNG = np.random.default_rng(0)
VALUES = np.linspace(0.1, 2.0, 8)
BASIS = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
B = RNG.normal(size=8)


def split(v):
  return {"x": v[:3], "y": v[3:].reshape(5, 1)}


def join(t):
  return jnp.concatenate([t["x"], t["y"].ravel()])


def system(values=VALUES):
  """(dense matrix, its product on trees) with given eigenvalues."""
  a = BASIS @ np.diag(values) @ BASIS.T
  return a, lambda t: split(jnp.asarray(a, join(t).dtype) @ join(t))


def test_every_solver_gives_the_solution_to_1e_10_in_float64():
  a, product = system()
  want = np.linalg.solve(a + 0.05 * np.eye(8), B)
  with enable_x64():
    b = split(jnp.asarray(B))
    noisy = lambda v, key: product(v)
    jacobi = lambda v: split(join(v) / jnp.asarray(np.diag(a) + 0.05))

    @jax.jit
    def all_of(b):
      return (
        curvature.cg(product, b, damping=0.05, tolerance=1e-13),
        curvature.cg(product, b, damping=0.05, tolerance=1e-13, preconditioner=jacobi, start=b),
        curvature.neumann(product, b, scale=1.2, damping=0.05, terms=2000, tolerance=1e-13),
        curvature.lissa(noisy, b, jax.random.key(0), scale=2.2, damping=0.05, steps=1000, repeats=2),
      )

    for x, info in all_of(b):
      np.testing.assert_allclose(join(x), want, rtol=1e-10, atol=1e-10)
      assert bool(info.converged) and x["x"].dtype == jnp.float64
      residual = a @ np.asarray(join(x)) + 0.05 * np.asarray(join(x)) - B
      assert np.linalg.norm(residual) / np.linalg.norm(B) < 1e-9


def test_cg_ends_in_as_many_steps_as_there_are_eigenvalues():
  _, product = system(np.repeat([1.0, 5.0], 4))
  _, info = curvature.cg(product, split(jnp.asarray(B, jnp.float32)), tolerance=1e-5)
  assert int(info.iterations) <= 3 and bool(info.converged)


def test_a_perfect_preconditioner_needs_one_step():
  a, product = system()
  inverse = lambda v: split(jnp.asarray(np.linalg.inv(a), jnp.float32) @ join(v))
  _, info = curvature.cg(product, split(jnp.asarray(B, jnp.float32)), preconditioner=inverse, tolerance=1e-4)
  assert int(info.iterations) <= 2 and bool(info.converged)


@pytest.mark.parametrize("worst", [-0.5, -1e-3, 0.0])
def test_an_indefinite_or_singular_system_is_flagged_also_under_jit(worst):
  _, product = system(np.concatenate([[worst], VALUES[1:]]))
  b = split(jnp.asarray(B, jnp.float32))
  _, info = jax.jit(lambda b: curvature.cg(product, b, tolerance=1e-7))(b)
  assert bool(info.indefinite) and not bool(info.converged)
  with pytest.raises(ArithmeticError, match="not positive definite"):
    curvature.cg(product, b, strict=True, tolerance=1e-7)
  x, info = curvature.cg(product, b, damping=1.0)  # enough of it cures it
  assert bool(info.converged) and not bool(info.indefinite)


def test_the_hessian_of_a_network_is_flagged_and_its_gauss_newton_matrix_is_not():
  params, batch = mlp_params(sizes=(6, 5, 4)), random_role()
  xent = objectives.cross_entropy(tanh_mlp, train=False)
  b = jax.tree.map(lambda p: jnp.sin(9 * p), params)

  @jax.jit
  def flags(b):
    hessian = curvature.cg(lambda v: curvature.hvp(xent, params, batch, v), b, damping=1e-3)[1]
    ggn = lambda v: curvature.ggn_vp(tanh_mlp, losses.cross_entropy, params, batch, v)
    return hessian, curvature.cg(ggn, b, damping=1e-3, iterations=300, tolerance=1e-4)[1]

  hessian, ggn = flags(b)
  assert bool(hessian.indefinite) and not bool(ggn.indefinite) and bool(ggn.converged)


@pytest.mark.parametrize("worst", [-3.0, -0.05, 0.1])
def test_damping_grows_until_the_system_is_definite_and_no_further_where_it_is(worst):
  a, product = system(np.concatenate([[worst], VALUES[1:]]))
  b = split(jnp.asarray(B, jnp.float32))
  x, info = jax.jit(lambda b: curvature.damped_cg(product, b, damping=0.01))(b)
  d = float(info.damping)
  np.testing.assert_allclose(join(x), np.linalg.solve(a + d * np.eye(8), B), rtol=2e-3)
  assert bool(info.solve.converged) and not bool(info.solve.indefinite) and float(info.solve.curvature) > 0
  if worst > 0:
    assert int(info.tries) == 1 and d == pytest.approx(0.01)
  else:  # no more than the most negative direction calls for
    assert int(info.tries) > 1 and -worst < d <= 4 * max(0.04, -2 * worst)


def test_damping_grows_until_a_step_is_accepted():
  _, product = system()
  b = split(jnp.asarray(B, jnp.float32))
  short = lambda x: trees.norm(x) < 0.5
  x, info = jax.jit(lambda b: curvature.damped_cg(product, b, damping=0.01, accept=short))(b)
  longer = curvature.cg(product, b, damping=info.damping / 4)[0]
  assert bool(info.accepted) and float(trees.norm(x)) < 0.5 <= float(trees.norm(longer))


def test_damping_that_may_not_grow_is_still_flagged():
  _, product = system(np.concatenate([[-3.0], VALUES[1:]]))
  b = split(jnp.asarray(B, jnp.float32))
  info = curvature.damped_cg(product, b, damping=0.01, tries=1)[1]
  assert bool(info.solve.indefinite) and not bool(info.accepted) and float(info.solve.curvature) < 0
  with pytest.raises(ValueError, match="growth must be > 1, got 1"):
    curvature.damped_cg(product, b, damping=0.01, growth=1.0)


def test_too_few_iterations_are_not_called_converged():
  _, product = system()
  x, info = curvature.cg(product, split(jnp.asarray(B, jnp.float32)), iterations=2)
  assert not bool(info.converged) and not bool(info.indefinite) and float(info.residual) > 1e-3
  with pytest.raises(ArithmeticError, match="not solved after 2 iterations, the relative residual is"):
    curvature.cg(product, split(jnp.asarray(B, jnp.float32)), iterations=2, strict=True)


def test_zero_is_solved_by_zero():
  _, product = system()
  x, info = curvature.cg(product, split(jnp.zeros(8)))
  assert not np.any(join(x)) and bool(info.converged) and int(info.iterations) == 0


def test_an_indefinite_preconditioner_is_flagged():
  _, product = system()
  info = curvature.cg(product, split(jnp.asarray(B, jnp.float32)), preconditioner=lambda v: trees.scale(v, -1.0))[1]
  assert bool(info.indefinite)


def test_what_is_not_finite_is_not_called_solved():
  _, product = system()
  bad = split(jnp.asarray(B, jnp.float32).at[2].set(jnp.nan))
  broken = lambda v: jax.tree.map(lambda x: x * jnp.nan, v)
  good = split(jnp.asarray(B, jnp.float32))
  for p, b in ((product, bad), (broken, good), (product, trees.scale(good, jnp.inf))):
    assert not bool(curvature.cg(p, b)[1].converged)
    info = curvature.neumann(p, b, scale=2.0)[1]
    assert bool(info.diverged) and not bool(info.converged)
    info = curvature.lissa(lambda v, key, p=p: p(v), b, jax.random.key(0), scale=3.0, steps=5)[1]
    assert bool(info.diverged) and not bool(info.converged)
  with pytest.raises(ArithmeticError, match="not solved"):
    curvature.cg(product, bad, strict=True)


@pytest.mark.parametrize("values", [VALUES * 10, np.concatenate([[-0.5], VALUES[1:]])])
def test_series_that_grow_are_flagged(values):
  _, product = system(values)
  b = split(jnp.asarray(B, jnp.float32))
  info = curvature.neumann(product, b, scale=2.2, terms=200)[1]
  assert bool(info.diverged) and not bool(info.converged)
  _, info = curvature.lissa(lambda v, key: product(v), b, jax.random.key(0), scale=2.2, damping=0.05, steps=300)
  assert bool(info.diverged) and not bool(info.converged)
  with pytest.raises(ArithmeticError, match="the series grows"):
    curvature.neumann(product, b, scale=2.2, terms=200, strict=True)


def test_lissa_with_minibatches_is_near_the_solution_and_says_how_near():
  rng = np.random.default_rng(3)
  x = rng.normal(size=(40, 3)).astype(np.float32)
  batch = role(x, np.arange(40) < 30, y=np.zeros(40, np.float32))
  params, b = {"kernel": jnp.zeros((3, 1))}, {"kernel": jnp.ones((3, 1))}

  def product(v, key):
    part = curvature.draw_rows(batch, key, 8)
    return curvature.ggn_vp(linear, losses.squared_error, params, part, v)

  solve = lambda b: curvature.lissa(product, b, jax.random.key(1), scale=12.0, damping=0.1, steps=400, repeats=8)
  found, info = jax.jit(solve)(b)
  a = 2 * x[:30].T @ x[:30] / 30 + 0.1 * np.eye(3)
  want = np.linalg.solve(a, np.ones((3, 1)))
  error = np.linalg.norm(found["kernel"] - want) / np.linalg.norm(want)
  assert not bool(info.diverged) and 0 < float(info.residual) < 0.2 and error < 4 * float(info.residual)


def test_newton_with_a_true_inverse_retrains_ridge_regression_to_1e_10():
  rng, decay = np.random.default_rng(4), 0.3
  x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 2))
  ridge = lambda x, y: np.linalg.solve(x.T @ x / len(x) + decay * np.eye(6), x.T @ y / len(x))
  loss = lambda outputs, targets: 0.5 * jnp.sum((outputs - targets) ** 2, -1)
  with enable_x64():
    params = {"kernel": jnp.asarray(ridge(x, y))}
    objective = objectives.supervised(linear, loss, train=False)
    gradient = lambda part: jax.grad(lambda p: objective(p, part, view())[0] * len(part["y"]))(params)
    gone, kept = role(x[:9], y=y[:9]), role(x[9:], y=y[9:])
    product = lambda v: curvature.ggn_vp(linear, loss, params, kept, v, microbatch=7)
    solve = lambda v: curvature.cg(product, v, damping=decay, tolerance=1e-14, strict=True)[0]
    found = edits.newton(params, gradient(gone), gradient(kept), solve, 9, 31)
    np.testing.assert_allclose(found["kernel"], ridge(x[9:], y[9:]), atol=1e-10)
    assert np.abs(found["kernel"] - params["kernel"]).max() > 1e-3


def test_messages():
  _, product = system()
  b = split(jnp.ones(8))
  for options, message in (
    (dict(damping=-1), "damping must be >= 0, got -1"),
    (dict(iterations=0), "iterations must be > 0, got 0"),
    (dict(start={"x": jnp.ones(3)}), "start must have the structure of b"),
  ):
    with pytest.raises(ValueError, match=message):
      curvature.cg(product, b, **options)
  with pytest.raises(ValueError, match=r"product\(b\) must have the structure of b"):
    curvature.cg(lambda v: v["x"], b)
  with pytest.raises(ValueError, match=r"product\(b\) at 'x' has shape \(2,\), b has \(3,\)"):
    curvature.neumann(lambda v: {**v, "x": v["x"][:2]}, b, scale=1.0)
  with pytest.raises(ValueError, match="scale must be > 0, got 0"):
    curvature.lissa(lambda v, key: v, b, jax.random.key(0), scale=0)
  with pytest.raises(ValueError, match="strict=True cannot raise under jit"):
    jax.jit(lambda b: curvature.cg(product, b, strict=True))(b)
