"""Masks of the largest entries of a tree."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree


def top_saliency(scores: ArrayTree, density: float) -> ArrayTree:
  """True for the largest |scores| over all leaves together.

  Args:
    scores: tree of arrays with n entries in all.
    density: fraction kept, in (0, 1].

  Returns:
    a tree of bool arrays, exactly floor(density * n) of them True; among equal scores the earlier entries win, so the
    number is exact with ties too. Density 1 keeps all.

  Example:
    >>> mask = top_saliency({"a": jnp.array([1.0, -5.0]), "b": jnp.array([3.0, 2.0])}, 0.5)
    >>> mask["a"].tolist(), mask["b"].tolist()
    ([False, True], [True, False])
  """
  check.fraction("density", density)
  count = sum(x.size for x in jax.tree.leaves(scores))
  # .29 * 100 is 28.999999999999996 in binary; the rounding puts whole numbers back
  return largest(jax.tree.map(jnp.abs, scores), int(round(density * count, 6)))


def largest(scores: ArrayTree, keep: int | Array) -> ArrayTree:
  """True for the `keep` largest entries over all leaves together; among equals the earlier ones win.

  Args:
    scores: tree of arrays.
    keep: how many, an int or an int scalar array.

  Example:
    >>> largest(jnp.array([2.0, 7.0, 2.0]), 2).tolist()
    [True, True, False]
  """
  leaves, structure = jax.tree.flatten(scores)
  flat = jnp.concatenate([x.ravel() for x in leaves])
  order = jnp.argsort(flat, descending=True, stable=True)
  mask = jnp.zeros(flat.shape, bool).at[order].set(jnp.arange(flat.size) < keep)
  ends = [0]
  for leaf in leaves:
    ends.append(ends[-1] + leaf.size)
  return jax.tree.unflatten(structure, [mask[a:b].reshape(x.shape) for a, b, x in zip(ends, ends[1:], leaves)])
