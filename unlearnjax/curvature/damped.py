"""Solving with a matrix that may be indefinite: its damping grows until the solution can be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree
from unlearnjax.curvature import trees
from unlearnjax.curvature.inverse import CGInfo, cg


class DampedInfo(NamedTuple):
  """How a solve with growing damping ended.

  Attributes:
    damping: f[], with which the system was solved in the end.
    tries: int[], solves, each with its own products.
    accepted: bool[], the last solve met no negative curvature and `accept` took its solution.
    solve: CGInfo of the last one.
  """

  damping: Array
  tries: Array
  accepted: Array
  solve: CGInfo


def damped_cg(
  product: Callable[[ArrayTree], ArrayTree],
  b: ArrayTree,
  *,
  damping: float | Array,
  accept: Callable[[ArrayTree], Array] | None = None,
  growth: float = 4.0,
  tries: int = 20,
  iterations: int = 100,
  tolerance: float = 1e-6,
) -> tuple[ArrayTree, DampedInfo]:
  """x with (A + d I) x = b for the first d >= damping at which x can be used.

  Levenberg and Marquardt's rule, for the Hessian of a network: a solve that meets a direction p of curvature
  p^T (A + d I) p / p^T p = -c <= 0, or whose solution is not accepted, is made again with a larger d, at least growth d
  and d + 2 c. A positive definite system is solved as `cg` does.

  Args:
    product: v -> A v for a symmetric A.
    b: tree.
    damping: > 0, that of the first solve.
    accept: x -> bool[], whether a step x is a good one; none is refused by default.
    growth: > 1, of the damping from one solve to the next, at least.
    tries: solves at most.
    iterations: of conjugate gradients in a solve, at most.
    tolerance: a solve stops at |residual| <= tolerance |b|.

  Returns:
    (x like `b` in float32 or wider, DampedInfo). It works under jit, in one program for any number of solves.

  Raises:
    ValueError: a product of another structure than b, or numbers out of range.

  Example:
    >>> x, info = damped_cg(lambda v: -v, jnp.array([3.0]), damping=0.5)  # -1 + 0.5, then -1 + 2
    >>> [round(float(v), 4) for v in (x[0], info.damping, info.tries)]
    [3.0, 2.0, 2.0]
  """
  if not isinstance(damping, jax.Array):
    check.positive("damping", damping)
  check.positive("tries", tries)
  if not growth > 1:
    raise ValueError(f"growth must be > 1, got {growth}")

  def again(carry):
    _, (d, n, _, last) = carry
    d = jnp.where(n > 0, jnp.maximum(growth * d, d - 2 * jnp.minimum(last.curvature, 0)), d)
    x, solve = cg(product, b, damping=d, iterations=iterations, tolerance=tolerance)
    good = ~solve.indefinite if accept is None else ~solve.indefinite & accept(x)
    return x, DampedInfo(d, n + 1, good, solve)

  def more(carry):
    _, info = carry
    return ~info.accepted & (info.tries < tries)

  first = jnp.asarray(damping, jnp.result_type(float, *jax.tree.leaves(trees.wide(b))))
  shape = jax.eval_shape(lambda d: cg(product, b, damping=d, iterations=iterations), first)
  x, solve = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)
  start = DampedInfo(first, jnp.zeros((), jnp.int32), jnp.zeros((), bool), solve)
  return jax.lax.while_loop(more, again, (x, start))
