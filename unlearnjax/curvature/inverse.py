"""Products with Hessians and with inverses of curvature matrices, on trees of parameters."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, Objective, Params, RoleBatch, View


def hvp(f: Callable[[Params], Array], params: Params, vector: ArrayTree) -> ArrayTree:
  """Hessian of a scalar function times a vector, forward over reverse.

  Args:
    f: params -> f[].
    params: where the Hessian is taken.
    vector: tree like `params`.

  Example:
    >>> hvp(lambda x: x[0] ** 2 * x[1], jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])).tolist()
    [4.0, 2.0]
  """
  check.same_structure("vector", vector, params, "params")
  return jax.jvp(jax.grad(f), (params,), (vector,))[1]


def mean_hvp(objective: Objective, params: Params, batches: RoleBatch, vector: ArrayTree, view: View) -> ArrayTree:
  """Hessian of an objective over several batches, times a vector.

  Args:
    objective: a mean over rows that reports `aux["weight"]`, built with train=False.
    params: where the Hessian is taken.
    batches: a role batch whose arrays carry a leading axis of batches, [K, B, ...].
    vector: tree like `params`.
    view: refs, state and rng of the objective.

  Returns:
    a tree like `params`: the Hessian of the mean over all valid rows, times the vector.
  """

  def body(carry, batch):
    weight = jnp.asarray(objective(params, batch, view)[1]["weight"], jnp.float32)
    part = hvp(lambda p: objective(p, batch, view)[0], params, vector)
    total, weights = carry
    return (jax.tree.map(lambda t, x: t + weight * x.astype(t.dtype), total, part), weights + weight), None

  zeros = jax.tree.map(lambda v: jnp.zeros(v.shape, jnp.promote_types(v.dtype, jnp.float32)), vector)
  (total, weight), _ = jax.lax.scan(body, (zeros, jnp.zeros(())), dict(batches))
  return jax.tree.map(lambda t: t / jnp.maximum(weight, 1e-30), total)


def cg_solve(
  product: Callable[[ArrayTree], ArrayTree],
  b: ArrayTree,
  *,
  damping: float = 0.0,
  iterations: int = 100,
  tolerance: float = 1e-6,
) -> ArrayTree:
  """x with (A + damping I) x = b, by conjugate gradients.

  Args:
    product: v -> A v for a symmetric A; A + damping I must be positive definite.
    b: tree.
    damping: >= 0.
    iterations: at most so many products.
    tolerance: stops at |residual| <= tolerance |b|.

  Example:
    >>> x = cg_solve(lambda v: 3 * v, jnp.array([4.0, 8.0]), damping=1.0)
    >>> [round(v, 4) for v in x.tolist()]
    [1.0, 2.0]
  """
  check.positive("damping", damping, zero=True)
  check.positive("iterations", iterations)
  damped = lambda v: jax.tree.map(lambda a, x: a + damping * x, product(v), v)
  return jax.scipy.sparse.linalg.cg(damped, b, tol=tolerance, maxiter=iterations)[0]


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
