"""Orthonormal bases of stored gradients, and what is left of a gradient outside of their span."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.types import ArrayTree
from unlearnjax.curvature import trees


def orthonormalize(vectors: ArrayTree, basis: ArrayTree | None = None, *, tolerance: float = 1e-5) -> ArrayTree:
  """Orthonormal vectors that span what `vectors` add to `basis`: Gram-Schmidt with a second pass, on trees.

  One pass in float32 loses orthogonality (the basis of orthogonal gradient descent, arXiv:1910.07104, needs it); two
  passes keep it to rounding. Vectors are taken in order, so vector j depends on the first j only.

  Args:
    vectors: k vectors, leaves f[k, ...].
    basis: r orthonormal vectors to stay orthogonal to, leaves f[r, ...]; zero rows are free places.
    tolerance: a vector of which less than this share is new becomes zeros: shapes do not depend on the rank.

  Returns:
    a tree like `vectors`, rows orthonormal or zero, float32 or wider.

  Raises:
    ValueError: trees that do not fit.

  Example:
    >>> orthonormalize(jnp.array([[2.0, 0.0], [4.0, 0.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
  """
  vectors = trees.wide(vectors)
  count = _count("vectors", vectors)
  lengths = jax.vmap(trees.norm)(vectors)
  if basis is not None:
    if jax.tree.structure(basis) != jax.tree.structure(vectors):
      raise ValueError("basis must have the structure of vectors")
    _count("basis", basis)
    vectors = jax.vmap(lambda v: project_out(v, basis))(vectors)
  zeros = jax.tree.map(jnp.zeros_like, vectors)

  def body(i, done):
    rest = project_out(jax.tree.map(lambda x: x[i], vectors), done)
    rest = rest if basis is None else project_out(rest, basis)
    rest = project_out(rest, done)
    length = trees.norm(rest)
    keep = length > tolerance * lengths[i]
    factor = jnp.where(keep, 1 / jnp.where(keep, length, 1), 0)
    return jax.tree.map(lambda d, x: d.at[i].set(factor.astype(x.dtype) * x), done, rest)

  return jax.lax.fori_loop(0, count, body, zeros)


def project_out(vector: ArrayTree, basis: ArrayTree) -> ArrayTree:
  """v - B^T B v: the part of a vector that is orthogonal to a basis.

  Args:
    vector: tree.
    basis: orthonormal or zero rows, leaves f[r, ...] of the shapes of `vector`.

  Returns:
    a tree like `vector`.

  Example:
    >>> project_out(jnp.array([3.0, 4.0]), jnp.array([[1.0, 0.0], [0.0, 0.0]])).tolist()
    [0.0, 4.0]
  """
  if jax.tree.structure(vector) != jax.tree.structure(basis):
    raise ValueError("basis must have the structure of vector, with a leading axis of its rows")

  def inner(v, b):
    axes = tuple(range(v.ndim))
    contract = (tuple(a + 1 for a in axes), axes), ((), ())
    return jax.lax.dot_general(b, v.astype(b.dtype), contract, precision="highest")

  along = sum(jax.tree.leaves(jax.tree.map(inner, vector, basis)))  # f[r]
  return jax.tree.map(lambda v, b: v - jnp.tensordot(along, b, 1, precision="highest").astype(v.dtype), vector, basis)


def _count(name: str, tree: ArrayTree) -> int:
  sizes = {x.shape[0] if x.ndim else None for x in jax.tree.leaves(tree)}
  if len(sizes) != 1 or None in sizes:
    shapes = [x.shape for x in jax.tree.leaves(tree)]
    raise ValueError(f"the leaves of {name} must share a leading axis, got shapes {shapes}")
  return sizes.pop()
