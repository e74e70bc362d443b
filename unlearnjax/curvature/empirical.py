"""The exact inverse of a damped empirical Fisher matrix, through the inner products of per-example gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.precise import full_precision
from unlearnjax.core.types import Array, ArrayTree


@full_precision
def woodfisher(
  gradients: ArrayTree,
  vector: ArrayTree,
  *,
  damping: float = 1.0,
  count: int | None = None,
  compat: str | None = None,
) -> ArrayTree:
  """H^-1 v for H = damping I + (1 / count) sum_i g_i g_i^T, exactly.

  The recursion H_i^-1 = H_{i-1}^-1 - (H_{i-1}^-1 g)(H_{i-1}^-1 g)^T / (count + g^T H_{i-1}^-1 g) of WoodFisher (Singh &
  Alistarh, arXiv:2004.14340) ends at this matrix; here it is applied at once through the N x N system of the gradients'
  inner products.

  Args:
    gradients: per-example gradients, leaves f[N, ...]; see `per_example_gradients`. Zero rows change nothing.
    vector: tree without the axis N.
    damping: > 0.
    count: the number that divides the sum; N by default.
    compat: `"rank2"` reproduces a widespread implementation that keeps one vector in place of the matrix: its result
      lies in the span of v and the first gradient and is no inverse. It takes damping 1.

  Returns:
    a tree like `vector`.

  Example:
    >>> g, v = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([1.0, 1.0])
    >>> [round(x, 4) for x in woodfisher(g, v).tolist()]
    [0.5, 1.0]
  """
  check.positive("damping", damping)
  check.one_of("compat", compat, (None, "rank2"))
  if jax.tree.structure(gradients) != jax.tree.structure(vector):
    raise ValueError("gradients must have the structure of vector, with a leading axis of examples")
  size = jax.tree.leaves(gradients)[0].shape[0]
  count = size if count is None else count
  if compat == "rank2":
    if damping != 1:
      raise ValueError(f"compat='rank2' is defined for damping 1, got {damping}")
    return _rank2(gradients, vector, count)
  gram = _sum(jax.tree.map(lambda g: _flat(g) @ _flat(g).T, gradients))
  along = _sum(jax.tree.map(lambda g, v: _flat(g) @ v.ravel(), gradients, vector))
  weights = jnp.linalg.solve(count * damping * jnp.eye(size) + gram, along)
  return jax.tree.map(
    lambda g, v: (v - jnp.tensordot(weights, _flat(g), 1).reshape(v.shape)) / damping, gradients, vector
  )


def _rank2(gradients, vector, count):
  first = jax.tree.map(lambda g: g[0], gradients)
  dot = lambda a, b: _sum(jax.tree.map(jnp.vdot, a, b))
  less = lambda a, scale, b: jax.tree.map(lambda x, y: x - scale * y, a, b)

  def body(carry, g):
    k, o = carry
    og = dot(o, g)
    return (less(k, dot(k, g) / (count + og), o), less(o, og / (count + og), o)), None

  rest = jax.tree.map(lambda g: g[1:], gradients)
  return jax.lax.scan(body, (vector, first), rest)[0][0]


def _flat(g: Array) -> Array:
  return g.reshape(g.shape[0], -1)


def _sum(tree: ArrayTree) -> Array:
  return sum(jax.tree.leaves(tree))
