"""Solving with a curvature matrix that is only known by its products: conjugate gradients and two series.

A solver takes `v -> A v` on trees and says, beside the solution, whether to believe it. Nothing raises under jit; with
`strict=True` and outside jit, a solution that is not to be believed is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, RoleBatch
from unlearnjax.curvature import trees
from unlearnjax.curvature.rows import row_batch


class CGInfo(NamedTuple):
  """How conjugate gradients ended.

  Attributes:
    iterations: int[], products taken, but for the last one that measures the residual.
    residual: f[], |b - (A + damping) x| / |b|, measured at the end and not carried along.
    converged: bool[], the residual is within the tolerance, up to rounding of the arithmetic.
    indefinite: bool[], a direction of curvature <= 0 was met (relative to the largest one, up to rounding), or the
      preconditioner is not positive definite. x is then the last iterate before it and solves nothing.
    curvature: f[], the smallest p^T (A + damping) p / p^T p over the directions p that were met; inf without any.
  """

  iterations: Array
  residual: Array
  converged: Array
  indefinite: Array
  curvature: Array


class SeriesInfo(NamedTuple):
  """How a series ended.

  Attributes:
    iterations: int[], terms taken.
    residual: f[]; for `neumann` |b - (A + damping) x| / |b|, for `lissa` the standard error of the mean over repeats,
      relative to |x| (NaN for one repeat).
    converged: bool[], `neumann`: the residual is within the tolerance; `lissa`: never more than not diverged.
    diverged: bool[], the series grows: an eigenvalue of A + damping lies outside (0, 2 scale), or something is not
      finite.
  """

  iterations: Array
  residual: Array
  converged: Array
  diverged: Array


def cg(
  product: Callable[[ArrayTree], ArrayTree],
  b: ArrayTree,
  *,
  damping: float | Array = 0.0,
  preconditioner: Callable[[ArrayTree], ArrayTree] | None = None,
  start: ArrayTree | None = None,
  iterations: int = 100,
  tolerance: float = 1e-6,
  strict: bool = False,
) -> tuple[ArrayTree, CGInfo]:
  """x with (A + damping I) x = b, by preconditioned conjugate gradients.

  Args:
    product: v -> A v for a symmetric A; A + damping I must be positive definite, and is watched.
    b: tree.
    damping: >= 0.
    preconditioner: v -> M^-1 v, M near A + damping I and positive definite, e.g. `kfac`; none by default.
    start: first guess, a tree like `b`; zeros by default.
    iterations: at most so many products.
    tolerance: stops at |residual| <= tolerance |b|.
    strict: raises, outside jit, for a system that is indefinite or not solved.

  Returns:
    (x like `b` in float32 or wider, CGInfo).

  Raises:
    ValueError: a product of another structure than b, numbers out of range, or `strict` under jit.
    ArithmeticError: with `strict`.

  Example:
    >>> x, info = cg(lambda v: 3 * v, jnp.array([4.0, 8.0]), damping=1.0)
    >>> [round(v, 4) for v in x.tolist()], bool(info.converged)
    ([1.0, 2.0], True)
    >>> bool(cg(lambda v: -v, jnp.ones(2))[1].indefinite)
    True
  """
  _check_numbers(damping, iterations=iterations, tolerance=tolerance)
  b, apply = trees.wide(b), _damped(product, b, damping)
  solve = (lambda v: v) if preconditioner is None else (lambda v: trees.wide(preconditioner(v)))
  x = jax.tree.map(jnp.zeros_like, b) if start is None else trees.wide(start)
  check.same_structure("start", x, b, "b")
  r = b if start is None else trees.add(b, -1.0, apply(x))
  size, eps = trees.norm(b), jnp.finfo(jnp.result_type(*jax.tree.leaves(b))).eps
  z = solve(r)
  goal = tolerance * size

  def more(carry):
    k, _, r, _, _, rz, _, _, bad = carry
    return (k < iterations) & (trees.norm(r) > goal) & ~bad & jnp.isfinite(rz)

  def body(carry):
    k, x, r, z, p, rz, top, low, _ = carry
    ap, pp = apply(p), trees.dot(p, p)
    curve = trees.dot(p, ap)
    top, low = jnp.maximum(top, jnp.abs(curve) / pp), jnp.minimum(low, curve / pp)
    bad = (curve <= 8 * eps * top * pp) | (rz <= 0)
    alpha = jnp.where(bad, 0, rz / jnp.where(bad, 1, curve))
    x, r = trees.add(x, alpha, p), trees.add(r, -alpha, ap)
    z = solve(r)
    new = trees.dot(r, z)
    return k + 1, x, r, z, trees.add(z, new / jnp.where(rz == 0, 1, rz), p), new, top, low, bad

  rz = trees.dot(r, z)
  carry = (
    jnp.zeros((), jnp.int32),
    x,
    r,
    z,
    z,
    rz,
    jnp.zeros_like(rz),
    jnp.full_like(rz, jnp.inf),
    jnp.zeros((), bool),
  )
  k, x, _, _, _, _, top, low, bad = jax.lax.while_loop(more, body, carry)
  residual = trees.norm(trees.add(b, -1.0, apply(x)))
  allowed = goal + 10 * eps * (top * trees.norm(x) + size)  # what the arithmetic can resolve
  relative = residual / jnp.where(size > 0, size, 1)
  info = CGInfo(k, relative, (residual <= allowed) & ~bad & jnp.isfinite(size), bad, low)
  if strict:
    _raise(info.indefinite, "cg: A + damping I is not positive definite: a direction of curvature <= 0 was met")
    _raise(~info.converged, "cg: not solved after {} iterations, the relative residual is {}", k, relative)
  return x, info


def neumann(
  product: Callable[[ArrayTree], ArrayTree],
  b: ArrayTree,
  *,
  scale: float | Array,
  damping: float | Array = 0.0,
  terms: int = 100,
  tolerance: float = 1e-6,
  strict: bool = False,
) -> tuple[ArrayTree, SeriesInfo]:
  """(A + damping I)^-1 b by the Neumann series (1 / scale) sum_k (I - (A + damping I) / scale)^k b.

  It converges where all eigenvalues of A + damping I lie in (0, 2 scale); the error falls by 1 - smallest / scale a
  term. The residual is the next term, so it comes for free.

  Args:
    product: v -> A v for a symmetric A.
    b: tree.
    scale: > 0, at least half the largest eigenvalue; `top_eigs` finds it.
    damping: >= 0.
    terms: at most so many.
    tolerance: stops at |residual| <= tolerance |b|.
    strict: raises, outside jit, where the series did not converge.

  Returns:
    (x like `b` in float32 or wider, SeriesInfo).

  Raises:
    ValueError: a product of another structure than b, numbers out of range, or `strict` under jit.
    ArithmeticError: with `strict`.

  Example:
    >>> x, info = neumann(lambda v: 3 * v, jnp.array([4.0, 8.0]), scale=5.0, damping=1.0)
    >>> [round(v, 4) for v in x.tolist()], bool(info.converged)
    ([1.0, 2.0], True)
  """
  _check_numbers(damping, scale, terms=terms, tolerance=tolerance)
  b, apply = trees.wide(b), _damped(product, b, damping)
  size = trees.norm(b)

  def more(carry):
    k, _, _, length, grows = carry
    return (k < terms) & (length > tolerance * size) & ~grows

  def body(carry):
    k, x, r, length, _ = carry
    x = trees.add(x, 1 / scale, r)
    r = trees.add(r, -1 / scale, apply(r))
    new = trees.norm(r)
    return k + 1, x, r, new, ~(new <= length * (1 + 1e-4))  # NaN grows too

  zeros = jax.tree.map(jnp.zeros_like, b)
  start = (jnp.zeros((), jnp.int32), zeros, b, size, ~jnp.isfinite(size))
  k, x, _, length, grows = jax.lax.while_loop(more, body, start)
  relative = length / jnp.where(size > 0, size, 1)
  info = SeriesInfo(k, relative, (relative <= tolerance) & ~grows, grows)
  if strict:
    _raise(grows, "neumann: the series grows; A + damping I has an eigenvalue outside (0, 2 scale) or is not finite")
    _raise(~info.converged, "neumann: not converged after {} terms, the relative residual is {}", k, relative)
  return x, info


def lissa(
  product: Callable[[ArrayTree, Array], ArrayTree],
  b: ArrayTree,
  key: Array,
  *,
  scale: float | Array,
  damping: float | Array = 0.01,
  steps: int = 1000,
  repeats: int = 1,
  strict: bool = False,
) -> tuple[ArrayTree, SeriesInfo]:
  """(A + damping I)^-1 b by LiSSA: x <- b + (I - (A_j + damping I) / scale) x, A_j the matrix of a random minibatch.

  The mean over `repeats` of x / scale after `steps` steps (Agarwal et al., arXiv:1602.03943; Koh & Liang,
  arXiv:1703.04730). The estimate is unbiased as steps grow; its noise falls with the size of a minibatch and `repeats`.

  Args:
    product: (v, key) -> A_j v, e.g. `lambda v, key: ggn_vp(fn, loss, params, draw_rows(batch, key, 32), v)`; each A_j
      symmetric and A_j + damping I with eigenvalues in (0, scale].
    b: tree.
    key: a typed key.
    scale: > 0, at least the largest eigenvalue of any A_j + damping I.
    damping: >= 0.
    steps: terms of the series, >= 1.
    repeats: independent estimates, >= 1.
    strict: raises, outside jit, for a series that grows.

  Returns:
    (x like `b` in float32 or wider, SeriesInfo). Divergence is seen by |x| > |b| / damping, which no positive
    semi-definite A_j allows, and by values that are not finite.

  Raises:
    ValueError: a product of another structure than b, numbers out of range, or `strict` under jit.
    ArithmeticError: with `strict`.

  Example:
    >>> x, info = lissa(lambda v, key: 3 * v, jnp.array([4.0]), jax.random.key(0), scale=5.0, damping=1.0, steps=50)
    >>> round(float(x[0]), 4), bool(info.diverged)
    (1.0, False)
  """
  _check_numbers(damping, scale, steps=steps, repeats=repeats)
  b = trees.wide(b)
  size = trees.norm(b)

  def one(key):
    def body(j, x):
      apply = _damped(lambda v: product(v, jax.random.fold_in(key, j)), b, damping)
      return trees.add(trees.add(b, 1.0, x), -1 / scale, apply(x))

    return trees.scale(jax.lax.fori_loop(0, steps, body, b), 1 / scale)

  each = jax.lax.map(one, jax.random.split(key, repeats))
  x = jax.tree.map(lambda e: e.mean(0), each)
  length = jax.vmap(trees.norm)(each)
  spread = trees.norm(jax.tree.map(lambda e, m: jnp.sqrt(jnp.sum((e - m) ** 2, 0)), each, x))
  bound = jnp.where(jnp.asarray(damping) > 0, size / jnp.maximum(damping, 1e-30) * 1.001, jnp.inf)
  diverged = jnp.any(~jnp.isfinite(length) | (length > bound))
  error = spread / jnp.sqrt(repeats * max(repeats - 1, 1)) / jnp.where(size > 0, trees.norm(x), 1)
  residual = error if repeats > 1 else jnp.full_like(error, jnp.nan)
  info = SeriesInfo(jnp.asarray(steps, jnp.int32), residual, ~diverged, diverged)
  if strict:
    _raise(diverged, "lissa: the series grows; raise scale above the largest eigenvalue of a minibatch, or the damping")
  return x, info


def draw_rows(batch: RoleBatch, key: Array, rows: int) -> Any:
  """`rows` random valid rows of a role batch, with replacement: the minibatch of `lissa`.

  Example:
    >>> batch = {"y": jnp.arange(4), "valid": jnp.array([False, True, False, False])}
    >>> draw_rows(batch, jax.random.key(0), 3)["y"].tolist()
    [1, 1, 1]
  """
  check.positive("rows", rows)
  valid = jnp.asarray(batch["valid"], bool)
  return row_batch(batch, jax.random.categorical(key, jnp.where(valid, 0.0, -jnp.inf), shape=(rows,)))


def _damped(product, b, damping):
  shapes = jax.eval_shape(product, trees.wide(b))
  check.same_structure("product(b)", shapes, b, "b")
  return lambda v: trees.add(trees.wide(product(v)), damping, v)


def _check_numbers(damping, scale=1.0, **positive):
  for name, value in (("damping", damping), ("scale", scale), *positive.items()):
    if not isinstance(value, jax.Array):  # a traced number cannot be looked at
      check.positive(name, value, zero=name in ("damping", "tolerance"))


def _raise(flag: Array, message: str, *values: Array) -> None:
  try:
    failed = bool(flag)
  except jax.errors.TracerBoolConversionError as e:
    raise ValueError("strict=True cannot raise under jit: read the flags of the returned info instead") from e
  if failed:
    raise ArithmeticError(message.format(*(f"{float(v):.3g}" for v in values)))
