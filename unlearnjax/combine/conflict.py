"""Combiners that treat all tasks alike: PCGrad, MGDA, CAGrad. They work on the Gram matrix of the gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.combine.rows import all_rows, weigh
from unlearnjax.core import check
from unlearnjax.core.precise import full_precision
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, Combiner
from unlearnjax.kernels import gram


def pcgrad() -> Combiner:
  """Projecting conflicting gradients: each one loses its part against every other that it conflicts with; their sum.

  For every g_i, for every other j in random order: g_i <- g_i - (<g_i, g_j> / |g_j|^2) g_j where <g_i, g_j> < 0, with
  the original g_j. Yu et al., NeurIPS 2020, arXiv:2001.06782. All roles count alike, and each row of a role of T tasks.
  The order is drawn from `view.rng`; without a view it is that of the roles.

  Example:
    >>> grads = {"a": {"w": jnp.array([1.0, 0.0])}, "b": {"w": jnp.array([-1.0, 1.0])}}
    >>> pcgrad().update(grads, (), {"w": jnp.zeros(2)})[0]["w"].tolist()
    [0.5, 1.5]
  """

  @full_precision
  def update(grads, state, params, *, values=None, view=None, valid=None):
    del values
    rows, _ = all_rows(grads, params, valid)
    products, _ = gram(rows, jax.tree.map(lambda m: m[0], rows))
    count = products.shape[0]
    order = jnp.tile(jnp.arange(count), (count, 1))
    if view is not None:
      keys = jax.random.split(fold_name(view.rng, "pcgrad"), count)
      order = jax.vmap(lambda key: jax.random.permutation(key, count))(keys)

    def one(i, others):
      def against(c, j):
        dot = c @ products[:, j]
        fires = (dot < 0) & (j != i) & (products[j, j] > 0)
        return c.at[j].add(jnp.where(fires, -dot / jnp.where(fires, products[j, j], 1.0), 0.0)), None

      return jax.lax.scan(against, jnp.eye(count)[i], others)[0]

    return weigh(rows, jax.vmap(one)(jnp.arange(count), order).sum(0)), state

  return Combiner(lambda params: (), update)


def mgda(*, iterations: int = 200) -> Combiner:
  """Multiple gradient descent: the point of least norm in the convex hull of the gradients.

  It lowers all losses to first order, or vanishes where that is impossible. Desideri 2012; Sener and Koltun, NeurIPS
  2018, arXiv:1810.04650.

  Args:
    iterations: of the solver on the simplex.

  Example:
    >>> grads = {"a": {"w": jnp.array([1.0, 0.0])}, "b": {"w": jnp.array([0.0, 1.0])}}
    >>> [round(x, 4) for x in mgda().update(grads, (), {"w": jnp.zeros(2)})[0]["w"].tolist()]
    [0.5, 0.5]
  """
  check.positive("iterations", iterations)

  @full_precision
  def update(grads, state, params, *, values=None, view=None, valid=None):
    del values, view
    rows, keep = all_rows(grads, params, valid)
    products, _ = gram(rows, jax.tree.map(lambda m: m[0], rows))
    size = jnp.maximum(jnp.trace(products), jnp.finfo(products.dtype).tiny)
    weights = on_simplex(lambda w: w @ products @ w / size, keep, iterations)
    return weigh(rows, weights), state

  return Combiner(lambda params: (), update)


def cagrad(*, c: float = 0.5, iterations: int = 200) -> Combiner:
  """Conflict-averse gradient: near the mean gradient, the direction that helps the worst-off loss most.

  max_d min_i <g_i, d> subject to |d - g_0| <= c |g_0|, g_0 the mean: d = g_0 + c |g_0| g_w / |g_w|, where w minimises
  <g_w, g_0> + c |g_0| |g_w| over the simplex. Liu et al., NeurIPS 2021, arXiv:2110.14048.

  Args:
    c: in [0, 1): 0 is the mean gradient.
    iterations: of the solver on the simplex.

  Example:
    >>> grads = {"a": {"w": jnp.array([1.0, 0.0])}, "b": {"w": jnp.array([0.0, 1.0])}}
    >>> [round(x, 4) for x in cagrad(c=0.0).update(grads, (), {"w": jnp.zeros(2)})[0]["w"].tolist()]
    [0.5, 0.5]
  """
  check.fraction("c", c, zero=True, one=False)
  check.positive("iterations", iterations)

  @full_precision
  def update(grads, state, params, *, values=None, view=None, valid=None):
    del values, view
    rows, keep = all_rows(grads, params, valid)
    products, _ = gram(rows, jax.tree.map(lambda m: m[0], rows))
    tiny = jnp.finfo(products.dtype).tiny
    mean = keep / jnp.maximum(keep.sum(), 1)
    norm = lambda w: jnp.sqrt(jnp.maximum(w @ products @ w, tiny))
    radius, size = c * norm(mean), jnp.maximum(jnp.trace(products), tiny)
    weights = on_simplex(lambda w: (w @ products @ mean + radius * norm(w)) / size, keep, iterations)
    return weigh(rows, mean + radius / norm(weights) * weights), state

  return Combiner(lambda params: (), update)


def on_simplex(f, keep: Array, iterations: int) -> Array:
  """Minimises a convex f over the simplex of the entries that are kept, by projected gradient with backtracking."""
  project = lambda w: optax.projections.projection_simplex(jnp.where(keep, w, -1e9))
  start = keep / jnp.maximum(keep.sum(), 1)

  def body(carry, _):
    w, step = carry
    value, slope = jax.value_and_grad(f)(w)
    new = project(w - step * slope)
    better = f(new) <= value
    return (jnp.where(better, new, w), jnp.where(better, 1.5 * step, 0.5 * step)), None

  start = start.astype(jax.eval_shape(f, start).dtype)
  return jax.lax.scan(body, (start, jnp.ones((), start.dtype)), length=iterations)[0][0]
