"""Penalties on parameter trees: scalars, for `objectives.penalty`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, Params
from unlearnjax.losses import shapes


def l1_norm(params: Params) -> Array:
  """Sum of |theta| over all leaves, biases and norms included (model sparsity, Jia et al. 2023, arXiv:2304.04934).

  It grows with the number of weights: a coefficient for one network is not that of another.

  Returns:
    f[] >= 0.

  Example:
    >>> float(l1_norm({"w": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}))
    6.0
  """
  return sum((jnp.sum(shapes.absolute(shapes.at_least_f32(x))) for x in jax.tree.leaves(params)), jnp.zeros(()))


def squared_distance(params: Params, reference: Params) -> Array:
  """Sum of (theta - reference)^2 over all leaves; the reference receives no gradient.

  Raises:
    ValueError: trees of different structure or shapes.

  Example:
    >>> float(squared_distance({"w": jnp.array([1.0, 3.0])}, {"w": jnp.zeros(2)}))
    10.0
  """
  check.same_structure("reference", reference, params, "params")
  gaps = jax.tree.map(
    lambda a, b: shapes.at_least_f32(a) - jax.lax.stop_gradient(shapes.at_least_f32(b)), params, reference
  )
  return sum((jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gaps)), jnp.zeros(()))


def l2_distance(params: Params, reference: Params) -> Array:
  """Euclidean distance |theta - reference|_2 over all leaves, with a zero gradient where both agree.

  Example:
    >>> float(l2_distance({"w": jnp.array([3.0, 4.0])}, {"w": jnp.zeros(2)}))
    5.0
  """
  square = squared_distance(params, reference)
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def weighted_distance(params: Params, reference: Params, importance: Params) -> Array:
  """Sum of importance * (theta - reference)^2 over all weights: EWC, SI and MAS without their coefficient.

  With importance 1 it is `squared_distance`. Several anchors are one: sum_k F_k (theta - theta_k)^2 and
  S (theta - m / S)^2 with S = sum_k F_k and m = sum_k F_k theta_k differ by a constant.

  Args:
    params: the weights.
    reference: anchor with the structure of `params`; it receives no gradient.
    importance: likewise, >= 0 for a penalty.

  Raises:
    ValueError: trees of different structure or shapes.

  Example:
    >>> float(weighted_distance({"w": jnp.array([1.0, 3.0])}, {"w": jnp.zeros(2)}, {"w": jnp.array([0.0, 2.0])}))
    18.0
  """
  check.same_structure("reference", reference, params, "params")
  check.same_structure("importance", importance, params, "params")
  fixed = lambda x: jax.lax.stop_gradient(shapes.at_least_f32(x))
  terms = jax.tree.map(
    lambda p, r, f: jnp.sum(fixed(f) * jnp.square(shapes.at_least_f32(p) - fixed(r))), params, reference, importance
  )
  return sum(jax.tree.leaves(terms), jnp.zeros(()))


def wasserstein(params: Params, reference: Params) -> Array:
  """Squared 2-Wasserstein distance between the weights of each leaf and those of a reference, summed over leaves.

  mean_i (sort(theta)_i - sort(theta0)_i)^2 for each leaf: it holds the distribution of the weights, not the weights
  themselves, near that of the initialization. Lewandowski et al., arXiv:2406.06811v1 (paper 126).

  Returns:
    f[] >= 0, 0 for a permutation of the reference.

  Example:
    >>> reference = {"w": jnp.array([1.0, 2.0])}
    >>> float(wasserstein({"w": jnp.array([2.0, 1.0])}, reference)), float(wasserstein({"w": jnp.zeros(2)}, reference))
    (0.0, 2.5)
  """
  check.same_structure("reference", reference, params, "params")
  order = lambda x: jnp.sort(shapes.at_least_f32(x).ravel())
  gaps = jax.tree.map(lambda p, r: order(p) - jax.lax.stop_gradient(order(r)), params, reference)
  return sum((jnp.mean(jnp.square(g)) for g in jax.tree.leaves(gaps)), jnp.zeros(()))
