"""Trace, diagonal and largest eigenvalues of a matrix that is only known by its products, through matfree.

They need the extra `curvature`: pip install unlearnjax[curvature].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree
from unlearnjax.curvature import trees

__doctest_requires__ = ("matfree",)


class Eigs(NamedTuple):
  """The largest eigenvalues of a symmetric matrix.

  Attributes:
    values: f[k], largest magnitude first.
    vectors: tree of f[k, ...], of length 1.
    residuals: f[k], |A v - value v|: each value is that near to an eigenvalue.
  """

  values: Array
  vectors: ArrayTree
  residuals: Array


def hessian_trace(
  product: Callable[[ArrayTree], ArrayTree], like: ArrayTree, key: Array, *, samples: int = 64
) -> tuple[Array, Array]:
  """Hutchinson's estimate of the trace, with random signs.

  Args:
    product: v -> A v for a symmetric A, e.g. `lambda v: hvp(objective, params, batch, v)`.
    like: tree of the shapes of v, e.g. the parameters.
    key: a typed key.
    samples: products, >= 2; they run one after another.

  Returns:
    (estimate f[], its standard error f[]). Exact for a diagonal matrix.

  Raises:
    ImportError: without matfree.

  Example:
    >>> trace, error = hessian_trace(lambda v: jnp.array([1.0, 2.0]) * v, jnp.zeros(2), jax.random.key(0), samples=4)
    >>> float(trace), float(error)
    (3.0, 0.0)
  """
  stochtrace = _matfree().stochtrace
  if samples < 2:
    raise ValueError(f"samples must be >= 2, got {samples}")
  each = _each(stochtrace, stochtrace.monte_carlo_trace(), product, like, key, samples)
  return each.mean(), each.std(ddof=1) / jnp.sqrt(samples)


def hessian_diag(
  product: Callable[[ArrayTree], ArrayTree], like: ArrayTree, key: Array, *, samples: int = 64
) -> ArrayTree:
  """Hutchinson's estimate of the diagonal: the mean of v * A v over vectors of random signs.

  Args:
    product: v -> A v for a symmetric A.
    like: tree of the shapes of v, e.g. the parameters.
    key: a typed key.
    samples: products, >= 1; they run one after another.

  Returns:
    a tree like `like`, unbiased. Exact for a diagonal matrix.

  Raises:
    ImportError: without matfree.

  Example:
    >>> hessian_diag(lambda v: jnp.array([1.0, 2.0]) * v, jnp.zeros(2), jax.random.key(0), samples=1).tolist()
    [1.0, 2.0]
  """
  check.positive("samples", samples)
  stochtrace = _matfree().stochtrace
  each = _each(stochtrace, stochtrace.monte_carlo_diagonal(), product, like, key, samples)
  return jax.tree.map(lambda x: x.mean(0), each)


def top_eigs(
  product: Callable[[ArrayTree], ArrayTree], like: ArrayTree, key: Array, *, k: int = 1, steps: int | None = None
) -> Eigs:
  """The k eigenvalues of largest magnitude, by the Lanczos iteration with full reorthogonalisation.

  Args:
    product: v -> A v for a symmetric A.
    like: tree of the shapes of v, n numbers in all.
    key: a typed key, for the first vector.
    k: how many, in [1, n].
    steps: products, and vectors kept in memory, in [k, n]; min(n, 2 k + 20) by default. n gives all that the first
      vector has a part of: multiple eigenvalues are found once.

  Returns:
    Eigs. Read `residuals`: values that have not converged are too small in magnitude.

  Raises:
    ImportError: without matfree.
    ValueError: k or steps out of range.

  Example:
    >>> found = top_eigs(lambda v: jnp.array([1.0, 5.0, 2.0]) * v, jnp.zeros(3), jax.random.key(0), k=2)
    >>> [round(v, 4) for v in found.values.tolist()]
    [5.0, 2.0]
  """
  matfree = _matfree()
  size = sum(x.size for x in jax.tree.leaves(like))
  steps = min(size, 2 * k + 20) if steps is None else steps
  if not 1 <= k <= steps <= size:
    raise ValueError(f"k and steps must be 1 <= k <= steps <= {size}, got k={k} and steps={steps}")
  like = trees.wide(like)
  leaves, structure = jax.tree.flatten(like)
  keys = jax.random.split(key, len(leaves))
  first = jax.tree.unflatten(structure, [jax.random.normal(r, x.shape, x.dtype) for r, x in zip(keys, leaves)])
  apply = lambda v: trees.wide(product(v))
  lanczos = matfree.decomp.tridiag_sym(steps, reortho="full", custom_vjp=False)
  values, vectors = matfree.eig.eigh_partial(lanczos)(apply, first)
  order = jnp.argsort(-jnp.abs(values))[:k]
  values, vectors = values[order], jax.tree.map(lambda x: x[order], vectors)
  off = jax.lax.map(lambda pair: trees.norm(trees.add(apply(pair[1]), -pair[0], pair[1])), (values, vectors))
  return Eigs(values, vectors, off)


def _each(stochtrace, integrand, product, like, key, samples):
  """One estimate a sample. The samples are mapped, not vectorised: memory stays that of one product."""
  like = trees.wide(like)
  apply = lambda v: trees.wide(product(v))

  def one(key):
    return integrand(apply, jax.tree.map(lambda s: s[0], stochtrace.sampler_signs(like, num=1)(key)))

  return jax.lax.map(one, jax.random.split(key, samples))


def _matfree():
  try:
    import matfree.decomp
    import matfree.eig
    import matfree.stochtrace
  except ImportError as e:
    raise ImportError("this needs matfree==0.6.3: pip install unlearnjax[curvature]") from e
  return matfree
