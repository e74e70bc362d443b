"""The k-th largest entry of a tree and masks of the largest ones: exact, without sorting or concatenating."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree
from unlearnjax.kernels import keys, wide
from unlearnjax.kernels.choose import check_implementation, is_local
from unlearnjax.kernels.pool import kth, pool
from unlearnjax.kernels.ties import first_of_equals


def kth_largest(tree: ArrayTree, k: int | Array, *, magnitude: bool = False, implementation: str = "auto") -> Array:
  """The k-th largest entry over all leaves together.

  Args:
    tree: tree of arrays with n entries in all, of floats or integers; a leaf holds fewer than 2**32.
    k: in [1, n]; an integer scalar array is clipped to that range.
    magnitude: of the absolute values.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    a scalar in the common dtype of the leaves.

  Raises:
    ValueError: k out of range; NaN in a leaf, which is named. Under `jit`, NaN is larger than infinity.

  Example:
    >>> kth_largest({"a": jnp.array([1.0, -5.0]), "b": jnp.array([3.0, 2.0])}, 2).item()
    2.0
  """
  leaves, names, n = _checked(tree, implementation)
  if not n:
    raise ValueError("kth_largest of a tree without entries")
  k = _rank(k, 1, n)
  value, nan = _kth(tuple(leaves), wide.wide(k), magnitude, is_local(leaves), implementation)
  _refuse_nan(leaves, names, nan)
  return value


def largest_mask(
  tree: ArrayTree, k: int | Array, *, magnitude: bool = False, implementation: str = "auto"
) -> ArrayTree:
  """True for the k largest entries over all leaves together; among equals the earlier ones win.

  Args:
    tree: tree of arrays with n entries in all, of floats or integers; a leaf holds fewer than 2**32.
    k: in [0, n]; an integer scalar array is clipped to that range.
    magnitude: of the absolute values.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    a tree of bool arrays, exactly k of them True.

  Raises:
    ValueError: k out of range; NaN in a leaf, which is named. Under `jit`, NaN is larger than infinity.

  Example:
    >>> largest_mask({"a": jnp.array([2.0, 7.0]), "b": jnp.array([2.0])}, 2)["a"].tolist()
    [True, True]
  """
  leaves, names, n = _checked(tree, implementation)
  return _masks(tree, leaves, names, [_rank(k, 0, n)], "global", magnitude, implementation)


def top_fraction_mask(
  tree: ArrayTree,
  density: float,
  scope: str = "global",
  *,
  magnitude: bool = False,
  implementation: str = "auto",
) -> ArrayTree:
  """True for the largest fraction of entries, over the whole tree or within every leaf.

  Args:
    tree: tree of arrays, of floats or integers; a leaf holds fewer than 2**32 entries.
    density: fraction kept, in [0, 1].
    scope: "global" keeps floor(density * n) of all n entries, "layer" as many of every leaf's own.
    magnitude: of the absolute values.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    a tree of bool arrays with that exact number of True; among equal entries the earlier win.

  Raises:
    ValueError: density or scope out of range; NaN in a leaf, which is named. Under `jit`, NaN is larger than infinity.

  Example:
    >>> mask = top_fraction_mask({"a": jnp.array([1.0, 5.0]), "b": jnp.array([3.0, 9.0])}, 0.5)
    >>> mask["a"].tolist(), mask["b"].tolist()
    ([False, True], [False, True])
  """
  check.fraction("density", density, zero=True)
  check.one_of("scope", scope, ("global", "layer"))
  leaves, names, n = _checked(tree, implementation)
  sizes = [n] if scope == "global" else [x.size for x in leaves]
  return _masks(tree, leaves, names, [kept(size, density) for size in sizes], scope, magnitude, implementation)


def kept(n: int, density: float) -> int:
  """floor(density * n); .29 * 100 is 28.999999999999996 in binary, rounding puts such whole numbers back."""
  return int(round(density * n, 6))


def _checked(tree: ArrayTree, implementation: str) -> tuple[list[Array], list[str], int]:
  check_implementation(implementation)
  leaves, names = [jnp.asarray(x) for x in jax.tree.leaves(tree)], paths(tree)
  for name, leaf in zip(names, leaves):
    if leaf.size >= 1 << 32:
      raise ValueError(f"a leaf must hold fewer than 2**32 entries, {name!r} has shape {leaf.shape}")
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
      raise ValueError(f"scores must be real, {name!r} has dtype {leaf.dtype}")
  return leaves, names, sum(x.size for x in leaves)


def _rank(k: int | Array, least: int, n: int) -> int | Array:
  if jnp.ndim(k) or not jnp.issubdtype(jnp.result_type(k), jnp.integer):
    raise ValueError(f"k must be an integer scalar, got {k!r}")
  if not isinstance(k, jax.Array):
    if not least <= k <= n:
      raise ValueError(f"k must be in [{least}, {n}], got {k}")
    return int(k)
  return jnp.clip(k, least, min(n, jnp.iinfo(k.dtype).max))


def _refuse_nan(leaves: Sequence[Array], names: Sequence[str], found: Array) -> None:
  try:
    found = bool(found)
  except jax.errors.ConcretizationTypeError:  # under jit the order is documented instead
    return
  if found:
    bad = [name for name, x in zip(names, leaves) if bool(jnp.isnan(x).any())]
    raise ValueError(f"scores must not be NaN; found some in {', '.join(map(repr, bad))}")


def _masks(tree, leaves, names, ks, scope, magnitude, implementation):
  if not sum(x.size for x in leaves):
    return jax.tree.map(lambda x: jnp.zeros(jnp.shape(x), bool), tree)
  ranks = jax.tree.map(lambda *x: jnp.stack(x), *[wide.wide(k) for k in ks])
  masks, nan = _largest(tuple(leaves), ranks, scope, magnitude, is_local(leaves), implementation)
  _refuse_nan(leaves, names, nan)
  return jax.tree.unflatten(jax.tree.structure(tree), masks)


@functools.partial(jax.jit, static_argnames=("magnitude", "local", "implementation"))
def _kth(leaves, k, magnitude, local, implementation):
  among = pool(leaves, "global", magnitude, local, implementation)
  at, _, nan = kth(among, jax.tree.map(lambda x: x[None], k), exact=True)
  return keys.from_key(at[0], among.dtype), nan


@functools.partial(jax.jit, static_argnames=("scope", "magnitude", "local", "implementation"))
def _largest(leaves, k, scope, magnitude, local, implementation):
  if scope == "layer":
    k = jax.tree.map(lambda x: x[jnp.array([i for i, leaf in enumerate(leaves) if leaf.size])], k)
  among = pool(leaves, scope, magnitude, local, implementation)
  at, bracket, nan = kth(among, k, exact=False)
  masks = jax.lax.cond(
    jnp.all(wide.equal(bracket.reach, k)),
    lambda: tuple(among.keys(p.array) >= at[g] for p, g in zip(among.pieces, among.groups)),
    lambda: first_of_equals(among, at, k),
  )
  full = [jnp.zeros(x.shape, bool) for x in leaves]
  for piece, mask in zip(among.pieces, masks):
    starts = (0, *piece.ends)
    for i, a, b in zip(piece.leaves, starts, piece.ends):
      full[i] = mask[a:b].reshape(leaves[i].shape) if len(piece.leaves) > 1 else mask
  return full, nan
