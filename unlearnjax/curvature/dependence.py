"""How much one variable depends on others, given some more, by ranks and nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array


class Foci(NamedTuple):
  """The variables that feature ordering chose.

  Attributes:
    selected: bool[p].
    order: int[limit], chosen variables in their order, then -1.
    gains: f[limit], the coefficient with which each was chosen, then 0.
    count: int[], how many.
  """

  selected: Array
  order: Array
  gains: Array
  count: Array


def codec(y: Array, z: Array, x: Array | None = None) -> Array:
  """The conditional dependence coefficient T(Y, Z | X) of Azadkia & Chatterjee, arXiv:1910.12327.

  R_i is the rank of y_i, N(i) the nearest neighbour of x_i and M(i) that of (x_i, z_i), never i itself. T = sum_i
  (min(R_i, R_M(i)) - min(R_i, R_N(i))) / sum_i (R_i - min(R_i, R_N(i))); without X, with L_i the number of y_j >= y_i,
  T = sum_i (n min(R_i, R_M(i)) - L_i^2) / sum_i L_i (n - L_i).

  Args:
    y: f[n], n >= 2.
    z: f[n] or f[n, q].
    x: f[n] or f[n, p], what is given; nothing by default. Distances mix z and x, so scales matter. Among equally near
      neighbours the first row counts: add a little noise to discrete variables.

  Returns:
    f[] <= 1, towards 0 where Y and Z are independent given X (negative values are noise) and towards 1 where Y is a
    function of Z given X. Where x nearly decides y, both sums are small and the value says nothing, often far below
    0; for a constant y it is 0.

  Raises:
    ValueError: variables of different lengths.

  Example:
    >>> z = jnp.arange(100)
    >>> round(float(codec(z, z)), 4)
    0.9406
  """
  y, z, x = (None if v is None else jnp.asarray(v) for v in (y, z, x))
  if y.ndim != 1 or len(y) < 2:
    raise ValueError(f"y must be f[n] with n >= 2, got shape {y.shape}")
  for name, v in (("z", z), ("x", x)):
    if v is not None and (v.ndim not in (1, 2) or len(v) != len(y)):
      raise ValueError(f"{name} must be f[{len(y)}] or f[{len(y)}, q] like y, got shape {v.shape}")
  given = jnp.zeros((len(y), len(y))) if x is None else _distances(x)
  ranks = _ranks(y)
  neighbours = (ranks[0][_nearest(distances)] for distances in (given + _distances(z), given))
  return _coefficient(ranks, *neighbours, x is not None)


def foci(features: Array, y: Array, *, limit: int | None = None, jitter: float = 0.0, key: Array | None = None) -> Foci:
  """Feature ordering by conditional independence: the variables that y depends on, its Markov blanket.

  Adds the variable with the largest T(Y, X_j | chosen), and stops where none is above 0 (arXiv:1910.12327). n^2 p
  operations a chosen variable; memory n (n + p). Being greedy, it cannot see variables that only tell together, as the
  terms of a sum modulo 1.

  Args:
    features: f[n, p].
    y: f[n], n >= 2.
    limit: at most so many variables; p by default.
    jitter: standard deviation of the noise that is added to all variables, so that ties and discrete values do not
      break ranks and neighbours (L-CODEC uses 0.01); >= 0.
    key: a typed key, for the noise.

  Returns:
    Foci; works under jit.

  Raises:
    ValueError: shapes that do not fit, limit < 1, or noise without a key.

  Example:
    >>> a, b, c = jax.random.uniform(jax.random.key(0), (3, 400))
    >>> foci(jnp.stack([c, a, b], 1), a + b).selected.tolist()
    [False, True, True]
  """
  features, y = jnp.asarray(features), jnp.asarray(y)
  if features.ndim != 2 or y.shape != features.shape[:1] or len(y) < 2:
    raise ValueError(f"features must be f[n, p] and y f[n] with n >= 2, got shapes {features.shape} and {y.shape}")
  n, p = features.shape
  limit = p if limit is None else min(limit, p)
  check.positive("limit", limit)
  check.positive("jitter", jitter, zero=True)
  if jitter > 0:
    if key is None:
      raise ValueError("jitter needs a key: give key=jax.random.key(seed)")
    keys = jax.random.split(key)
    features = features + jitter * jax.random.normal(keys[0], features.shape)
    y = y + jitter * jax.random.normal(keys[1], y.shape)
  ranks, columns = _ranks(y), features.T

  def more(carry):
    return carry[-1]

  def body(carry):
    selected, given, order, gains, k, _ = carry
    with_z = _ranks_of_nearest(ranks[0], given, columns)
    scores = jnp.where(selected, -jnp.inf, _coefficient(ranks, with_z, ranks[0][_nearest(given)], k > 0))
    best = jnp.argmax(scores)
    take = scores[best] > 0
    put = lambda old, new: old.at[k].set(jnp.where(take, new, old[k]))
    selected = selected.at[best].set(selected[best] | take)
    given = jnp.where(take, given + _distances(columns[best]), given)
    order, gains, k = put(order, best.astype(jnp.int32)), put(gains, scores[best]), k + take
    return selected, given, order, gains, k, take & (k < limit)

  start = (
    jnp.zeros(p, bool),
    jnp.zeros((n, n), columns.dtype),
    jnp.full(limit, -1, jnp.int32),
    jnp.zeros(limit, jnp.zeros((), float).dtype),
    jnp.zeros((), jnp.int32),
    jnp.array(True),
  )
  selected, _, order, gains, count, _ = jax.lax.while_loop(more, body, start)
  return Foci(selected, order, gains, count)


def _distances(x: Array) -> Array:
  """Squared distances between all rows, f[n, n]; differences first, so that ties stay ties."""
  if x.ndim == 1:
    return jnp.square(x[:, None] - x[None, :]).astype(float)
  add = lambda total, column: (total + _distances(column), None)
  return jax.lax.scan(add, jnp.zeros((len(x), len(x)), float), x.T)[0]


def _ranks(y: Array) -> tuple[Array, Array]:
  """(how many y_j <= y_i, how many y_j >= y_i)."""
  ordered = jnp.sort(y)
  return jnp.searchsorted(ordered, y, side="right"), len(y) - jnp.searchsorted(ordered, y, side="left")


def _nearest(distances: Array) -> Array:
  return jnp.argmin(jnp.where(jnp.eye(len(distances), dtype=bool), jnp.inf, distances), axis=1)


def _ranks_of_nearest(ranks: Array, given: Array, columns: Array) -> Array:
  """[p, n]: the rank of every point's nearest neighbour in (X, Z_j), for all p variables Z_j at once.

  Neighbours come one after another, so that nothing of size n^2 p is ever held; of equally near ones the first counts.
  """
  points = jnp.arange(len(ranks))

  def closer(i, carry):
    nearest, rank = carry
    away = given[i] + jnp.square(columns - jax.lax.dynamic_slice_in_dim(columns, i, 1, 1))
    better = (away < nearest) & (points != i)
    return jnp.where(better, away, nearest), jnp.where(better, ranks[i], rank)

  start = jnp.full(columns.shape, jnp.inf, given.dtype), jnp.broadcast_to(ranks[:1], columns.shape)
  return jax.lax.fori_loop(0, len(ranks), closer, start)[1]


def _coefficient(ranks: tuple[Array, Array], with_z: Array, without: Array, conditional: Array | bool) -> Array:
  """T from the ranks of the nearest neighbours; leading axes of `with_z` are kept."""
  r, at_least = (v.astype(float) for v in ranks)
  n = len(r)
  with_z, without = jnp.minimum(r, with_z), jnp.minimum(r, without)
  top = jnp.where(conditional, jnp.sum(with_z - without, -1), jnp.sum(with_z - at_least**2 / n, -1))
  below = jnp.where(conditional, jnp.sum(r - without), jnp.sum(at_least * (n - at_least) / n))
  return jnp.where(below > 0, top / jnp.where(below > 0, below, 1), 0)
