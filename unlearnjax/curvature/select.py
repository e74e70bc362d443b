"""Masks of the largest entries of a tree."""

from __future__ import annotations

from unlearnjax import kernels
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

  Raises:
    ValueError: density out of range; NaN in a leaf, which is named. Under `jit`, NaN is larger than infinity.

  Example:
    >>> import jax.numpy as jnp
    >>> mask = top_saliency({"a": jnp.array([1.0, -5.0]), "b": jnp.array([3.0, 2.0])}, 0.5)
    >>> mask["a"].tolist(), mask["b"].tolist()
    ([False, True], [True, False])
  """
  check.fraction("density", density)
  return kernels.top_fraction_mask(scores, density, magnitude=True)


def largest(scores: ArrayTree, keep: int | Array) -> ArrayTree:
  """True for the `keep` largest entries over all leaves together; among equals the earlier ones win.

  Args:
    scores: tree of arrays.
    keep: how many, an int or an int scalar array.

  Raises:
    ValueError: more than there are; NaN in a leaf, which is named. Under `jit`, NaN is larger than infinity.

  Example:
    >>> import jax.numpy as jnp
    >>> largest(jnp.array([2.0, 7.0, 2.0]), 2).tolist()
    [True, True, False]
  """
  return kernels.largest_mask(scores, keep)
