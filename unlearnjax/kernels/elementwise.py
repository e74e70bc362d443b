"""Edits and accumulations of every weight: one read, one write."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, Params
from unlearnjax.kernels.choose import check_implementation, use_pallas
from unlearnjax.kernels.stream import stream


def dampen(
  params: Params,
  importance_all: ArrayTree,
  importance_forget: ArrayTree,
  *,
  alpha: float | Array,
  lam: float | Array,
  implementation: str = "auto",
) -> Params:
  """theta <- min(lam I_D / I_F, 1) theta where I_F > alpha I_D: selective synaptic dampening, arXiv:2308.07707.

  Args:
    params: weights.
    importance_all: I_D, tree like `params`, >= 0.
    importance_forget: I_F, tree like `params`, >= 0.
    alpha: > 0.
    lam: > 0.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    a tree like `params`, in its dtypes; an importance that is NaN leaves its weight alone.

  Raises:
    ValueError: trees of different structure or shapes.

  Example:
    >>> dampen(jnp.ones(2), jnp.ones(2), jnp.array([5.0, 20.0]), alpha=10.0, lam=2.0).tolist()
    [1.0, 0.10000000149011612]
  """
  check_implementation(implementation)
  check.same_structure("importance_all", importance_all, params, "params")
  check.same_structure("importance_forget", importance_forget, params, "params")
  return _each(dampened, implementation, (alpha, lam), params, importance_all, importance_forget)


def accumulate_square(
  total: ArrayTree, gradient: ArrayTree, weight: float | Array = 1.0, *, implementation: str = "auto"
) -> ArrayTree:
  """total + weight * gradient^2, what diagonals of the Fisher information are sums of.

  Args:
    total: tree of arrays.
    gradient: tree like `total`; squared in float32 or wider.
    weight: a scalar; entries whose gradient is not finite stay as they are where it is 0.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    a tree like `total`, in its dtypes.

  Raises:
    ValueError: trees of different structure or shapes.

  Example:
    >>> accumulate_square(jnp.ones(2), jnp.array([2.0, -3.0]), 0.5).tolist()
    [3.0, 5.5]
  """
  check_implementation(implementation)
  check.same_structure("gradient", gradient, total, "total")
  return _each(square_added, implementation, (weight,), total, gradient)


def masked_update(params: Params, updates: ArrayTree, mask: ArrayTree, *, implementation: str = "auto") -> Params:
  """params + updates where the mask is True, the same bits elsewhere: an optimizer's last step and a mask at once.

  Args:
    params: weights.
    updates: tree like `params`.
    mask: tree of bool arrays like `params`.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    a tree like `params`, in its dtypes. What an update holds where the mask is False does not matter, NaN included.

  Raises:
    ValueError: trees of different structure or shapes.

  Example:
    >>> masked_update(jnp.ones(2), jnp.array([0.5, jnp.nan]), jnp.array([True, False])).tolist()
    [1.5, 1.0]
  """
  check_implementation(implementation)
  check.same_structure("updates", updates, params, "params")
  check.same_structure("mask", mask, params, "params")
  return _each(updated, implementation, (), params, updates, mask)


def _each(f, implementation: str, numbers, *trees: ArrayTree) -> ArrayTree:
  """f(*leaves, *numbers) a leaf, by XLA or as a kernel's body: one formula for both."""

  def leaf(*arrays):
    arrays = tuple(map(jnp.asarray, arrays))
    if not use_pallas(implementation, *arrays):
      return f(*arrays, *numbers)
    scalars = [jnp.asarray(n, jnp.float32) for n in numbers]
    body = lambda values, blocks, stacks: ((f(*blocks, *(v[0] for v in values)),), ())
    return stream(body, scalars, arrays, outs=(arrays[0].dtype,))[0][0]

  return jax.tree.map(leaf, *trees)


def wide_dtype(*arrays: Array) -> jnp.dtype:
  """The common dtype of arrays, float32 or wider."""
  return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def dampened(theta: Array, i_d: Array, i_f: Array, alpha: Array, lam: Array) -> Array:
  """One leaf of `dampen`."""
  wide = wide_dtype(theta, i_d, i_f)
  i_d, i_f = i_d.astype(wide), i_f.astype(wide)
  selected = i_f > alpha * i_d
  beta = jnp.minimum(lam * i_d / jnp.where(selected, i_f, 1), 1)
  return jnp.where(selected, (beta * theta.astype(wide)).astype(theta.dtype), theta)


def square_added(total: Array, gradient: Array, weight: Array) -> Array:
  """One leaf of `accumulate_square`."""
  wide = wide_dtype(total, gradient)
  square = jnp.square(gradient.astype(wide))
  added = jnp.where(weight == 0, 0, weight * square)
  return (total.astype(wide) + added.astype(wide)).astype(total.dtype)


def updated(theta: Array, update: Array, mask: Array) -> Array:
  """One leaf of `masked_update`."""
  wide = jnp.promote_types(theta.dtype, update.dtype)
  return jnp.where(mask, (theta.astype(wide) + update.astype(wide)).astype(theta.dtype), theta)
