"""One step of Newton's method away from the forget set, and the linearised network's version of it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, Params
from unlearnjax.curvature.tangent import ntk_gram, ridge_displacement


def newton(
  params: Params,
  gradient_forget: ArrayTree,
  gradient_retain: ArrayTree,
  solve: Callable[[ArrayTree], ArrayTree],
  n_forget: int,
  n_retain: int,
  alpha: float = 1.0,
) -> Params:
  """theta + alpha H_R^-1 [(1/n) sum_F g - (|F| / (n |R|)) sum_R g], n = |F| + |R|: influence unlearning.

  Gradients are sums over examples of the loss without its L2 term, at the optimum of the whole training set; H_R
  includes the L2 term. For a quadratic loss this is retraining, exactly.

  Args:
    params: weights, at an optimum.
    gradient_forget: sum over the forget set (`curvature.gradient(objective, reduce="sum")`).
    gradient_retain: sum over the retain set.
    solve: v -> H_R^-1 v, H_R the Hessian of the mean retain loss (or an approximation of it): `curvature.cg`,
      `curvature.woodfisher`.
    n_forget: |F| >= 1.
    n_retain: |R| >= 1.
    alpha: length of the step; 1 is Newton's.

  Returns:
    a tree like `params`.

  Example:
    >>> # mean of (theta - y)^2 / 2 over y = 0, 4 is optimal at 2; without y = 4 at 0
    >>> found = newton(jnp.array(2.0), jnp.array(-2.0), jnp.array(2.0), lambda v: v, 1, 1)
    >>> float(found)
    0.0
  """
  check.positive("n_forget", n_forget)
  check.positive("n_retain", n_retain)
  check.same_structure("gradient_forget", gradient_forget, params, "params")
  check.same_structure("gradient_retain", gradient_retain, params, "params")
  n = n_forget + n_retain
  influence = lambda f, r: f / n - (n_forget / (n * n_retain)) * r
  step = solve(jax.tree.map(influence, gradient_forget, gradient_retain))
  return jax.tree.map(lambda p, s: p + (alpha * s).astype(p.dtype), params, step)


def ntk_scrub(
  params: Params, jacobian: ArrayTree, residual: Array, retain: Array, weight_decay: float, scale: float = 1.0
) -> Params:
  """theta + scale (w(R) - w(D)), w the solutions of the linearised network. Golatkar et al., arXiv:2003.02960.

  Args:
    params: the trained weights.
    jacobian: `curvature.logit_jacobian` of all n examples.
    residual: f[n, C], what the network is off by where it is linearised; see `curvature.ridge_displacement`.
    retain: bool[n], False for the examples that are forgotten.
    weight_decay: > 0, that of the training.
    scale: 1 for a linear network; see `trapezium_scale`.

  Returns:
    a tree like `params`.
  """
  step = ntk_step(jacobian, residual, retain, weight_decay)
  return jax.tree.map(lambda p, s: p + (scale * s).astype(p.dtype), params, step)


def ntk_step(jacobian: ArrayTree, residual: Array, retain: Array, weight_decay: float) -> ArrayTree:
  """w(R) - w(D), the displacement of `ntk_scrub` before scaling.

  Example:
    >>> step = ntk_step(jnp.ones((2, 1)), jnp.array([[-1.0], [-1.0]]), jnp.array([True, False]), 1.0)
    >>> round(float(step), 4)
    0.0
  """
  gram = ntk_gram(jacobian)
  with_all = ridge_displacement(jacobian, residual, weight_decay, gram=gram)
  without = ridge_displacement(jacobian, residual, weight_decay, retain, gram=gram)
  return jax.tree.map(jnp.subtract, without, with_all)


def trapezium_scale(step: ArrayTree, error: ArrayTree) -> Array:
  """1 + 2 |cos(step, error)| |error| / |step|: how much longer the true displacement is than the linearised one.

  The errors of linearisation with and without the forget set have one length and one angle to the step, so the four
  weights form a symmetric trapezium.

  Args:
    step: of `ntk_step`.
    error: actual minus predicted displacement of the weights from where the network is linearised.

  Returns:
    f[] >= 1.

  Example:
    >>> float(trapezium_scale(jnp.array([2.0, 0.0]), jnp.array([1.0, 5.0])))
    2.0
  """
  dot = lambda a, b: sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))
  square = dot(step, step)
  return 1 + 2 * jnp.abs(dot(step, error)) / jnp.where(square > 0, square, 1)
