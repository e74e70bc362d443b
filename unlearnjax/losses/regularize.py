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
