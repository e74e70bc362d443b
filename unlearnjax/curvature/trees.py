"""Arithmetic on trees of arrays, leaf by leaf: nothing is reshaped, so sharded leaves stay where they are."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array, ArrayTree


def wide(tree: ArrayTree) -> ArrayTree:
  """Leaves in float32 or wider.

  Example:
    >>> wide(jnp.ones(1, jnp.bfloat16)).dtype.name
    'float32'
  """
  return jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.promote_types(jnp.result_type(x), jnp.float32)), tree)


def dot(a: ArrayTree, b: ArrayTree) -> Array:
  """Inner product over all leaves, f[] in float32 or wider.

  Example:
    >>> float(dot({"x": jnp.array([1.0, 2.0])}, {"x": jnp.array([3.0, 4.0])}))
    11.0
  """
  leaves = jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), wide(a), wide(b)))
  return sum(leaves, jnp.zeros(()))


def norm(a: ArrayTree) -> Array:
  """Euclidean length over all leaves, f[].

  Example:
    >>> float(norm([jnp.array([3.0]), jnp.array(4.0)]))
    5.0
  """
  return jnp.sqrt(dot(a, a))


def add(a: ArrayTree, scale: Array | float, b: ArrayTree) -> ArrayTree:
  """a + scale b, in the dtypes of `a`.

  Example:
    >>> add(jnp.array([1.0]), 2.0, jnp.array([3.0])).tolist()
    [7.0]
  """
  return jax.tree.map(lambda x, y: x + jnp.asarray(scale, x.dtype) * y, a, b)


def scale(a: ArrayTree, factor: Array | float) -> ArrayTree:
  """factor a, in the dtypes of `a`.

  Example:
    >>> scale(jnp.array([3.0]), 2.0).tolist()
    [6.0]
  """
  return jax.tree.map(lambda x: jnp.asarray(factor, x.dtype) * x, a)
