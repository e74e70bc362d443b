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
from unlearnjax.kernels.count import count_true, reversed_index
from unlearnjax.kernels.sample import guess
from unlearnjax.kernels.search import THRESHOLDS, Bracket, search
from unlearnjax.kernels.wide import Wide


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
  dtype = jnp.result_type(*leaves)
  local = is_local(leaves)
  low, nans = _kth(tuple(leaves), wide.wide(k), dtype, magnitude, local, implementation)
  _refuse_nan(names, nans)
  return low


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


def _refuse_nan(names: Sequence[str], nans: Array) -> None:
  try:
    bad = [name for name, count in zip(names, nans.tolist()) if count]
  except jax.errors.ConcretizationTypeError:  # under jit the order is documented instead
    return
  if bad:
    raise ValueError(f"scores must not be NaN; found some in {', '.join(map(repr, bad))}")


def _masks(tree, leaves, names, ks, scope, magnitude, implementation):
  structure = jax.tree.structure(tree)
  ranks = [wide.wide(k) for k in ks]
  if leaves:
    ranks = jax.tree.map(lambda *x: jnp.stack(x), *ranks)
    masks, nans = _largest(tuple(leaves), ranks, scope, magnitude, is_local(leaves), implementation)
    _refuse_nan(names, nans)
    return jax.tree.unflatten(structure, masks)
  return tree


class _Counter:
  """The leaves that hold anything, their groups, and the counts that the search asks for."""

  def __init__(self, leaves, groups, dtype, magnitude, implementation):
    self.leaves, self.groups, self.dtype, self.magnitude = leaves, groups, dtype, magnitude
    self.implementation = implementation
    self.bits = keys.key_dtype(dtype).itemsize * 8
    self.unsigned = jnp.uint64 if self.bits == 64 else jnp.uint32
    self.shift = keys.low_zero_bits([x.dtype for x in leaves]) if jnp.dtype(dtype).itemsize < 8 else 0
    self.keys = lambda x: keys.to_keys(x, dtype, magnitude)

  def signed(self, thresholds: Array) -> Array:
    """Keys of the search's numbers, which are unsigned and leave out bits that are always 0."""
    kind = keys.key_dtype(self.dtype)
    return jax.lax.bitcast_convert_type(thresholds << self.shift, kind) ^ jnp.iinfo(kind).min

  def number(self, key: int) -> Array:
    return jnp.asarray((key + (1 << (self.bits - 1))) >> self.shift, self.unsigned)

  def __call__(self, thresholds: Array) -> Array:
    at = self.signed(thresholds)
    rows = []
    for leaf, group in zip(self.leaves, self.groups):
      # keys are made anew in every pass: they would take as much memory as the scores
      key = self.keys(leaf)
      rows.append(count_true([key >= at[group, i] for i in range(THRESHOLDS)]))
    return jnp.stack(rows)

  def combine(self, counts: Array) -> Wide:
    if len(set(self.groups)) == len(self.groups):
      return wide.wide(counts)
    return jax.tree.map(lambda x: x[None], wide.total(counts))

  def start(self, count: int) -> Bracket:
    """The whole range; keys of absolute values and of NaN limit it."""
    nan = keys.nan_key(self.dtype)
    low = self.number(0) if self.magnitude and nan else jnp.zeros((), self.unsigned)
    high = self.number(nan) if nan else jnp.asarray(((1 << self.bits) - 1) >> self.shift, self.unsigned)
    sizes = [sum(x.size for x, g in zip(self.leaves, self.groups) if g == group) for group in range(count)]
    whole = jax.tree.map(lambda *x: jnp.stack(x), *[wide.wide(s) for s in sizes])
    return Bracket(jnp.full(count, low), jnp.full(count, high), whole, jax.tree.map(jnp.zeros_like, whole))

  def search(self, k: Wide, local: bool, exact: bool) -> tuple[Bracket, Array]:
    groups = k.low.shape[0]
    nan = keys.nan_key(self.dtype)
    watch = jnp.full(groups, self.number(nan)) if nan else None
    first = guess(self, k) if local and groups == 1 else None
    bracket, watched = search(self, self.combine, self.start(groups), k, first=first, watch=watch, exact=exact)
    return bracket, watched if nan else jnp.zeros_like(watched)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _kth(leaves, k, dtype, magnitude, local, implementation):
  some = [x for x in leaves if x.size]
  counter = _Counter(some, [0] * len(some), dtype, magnitude, implementation)
  bracket, nans = counter.search(jax.tree.map(lambda x: x[None], k), local, exact=True)
  value = keys.from_key(counter.signed(bracket.low)[0], dtype)
  return value, _spread(leaves, nans)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _largest(leaves, k, scope, magnitude, local, implementation):
  some = [x for x in leaves if x.size]
  if not some:
    return [jnp.zeros(x.shape, bool) for x in leaves], jnp.zeros(len(leaves), jnp.uint32)
  dtype = jnp.result_type(*leaves)
  if scope == "layer":
    k = jax.tree.map(lambda x: x[jnp.array([i for i, leaf in enumerate(leaves) if leaf.size])], k)
  groups = list(range(len(some))) if scope == "layer" else [0] * len(some)
  counter = _Counter(some, groups, dtype, magnitude, implementation)
  bracket, nans = counter.search(k, local, exact=False)
  at = counter.signed(bracket.low)

  def reaching():
    return tuple(counter.keys(x) >= at[g] for x, g in zip(some, groups))

  masks = jax.lax.cond(
    jnp.all(wide.equal(bracket.reach, k)), reaching, lambda: _first_of_equals(counter, at, bracket, k)
  )
  masks = iter(masks)
  full = [next(masks) if x.size else jnp.zeros(x.shape, bool) for x in leaves]
  return full, _spread(leaves, nans)


def _spread(leaves, counts):
  """Counts of the leaves that hold anything, at their places among all."""
  places = [i for i, x in enumerate(leaves) if x.size]
  return jnp.zeros(len(leaves), jnp.uint32).at[jnp.array(places)].set(counts)


def _first_of_equals(counter: _Counter, at: Array, bracket: Bracket, k: Wide) -> tuple[Array, ...]:
  """Everything above the k-th key, and of the entries equal to it the earliest, up to k."""
  del bracket
  some, groups, per_leaf = counter.leaves, counter.groups, len(set(counter.groups)) == len(counter.groups)
  both = jnp.stack([count_true([(key := counter.keys(x)) > at[g], key == at[g]]) for x, g in zip(some, groups)])
  above, ties = both[:, 0], both[:, 1]
  if per_leaf:
    quota = jnp.minimum(ties, wide.narrow(wide.minus(k, wide.wide(above))))
  else:
    missing = wide.minus(jax.tree.map(lambda x: x[0], k), wide.total(above))
    before = wide.running(ties)
    quota = jnp.minimum(
      ties, wide.narrow(wide.minus(Wide(*(jnp.broadcast_to(x, ties.shape) for x in missing)), before))
    )
  cut = (quota > 0) & (quota < ties)  # leaves of which some ties stay: at most one a group

  def counts(thresholds):
    rows = []
    for i, (x, g) in enumerate(zip(some, groups)):

      def reach(x=x, g=g):
        tie, place = counter.keys(x) == at[g], reversed_index(x.shape)
        return count_true([tie & (place >= thresholds[g, j]) for j in range(THRESHOLDS)])

      rows.append(jax.lax.cond(cut[i], reach, lambda: jnp.zeros(THRESHOLDS, jnp.uint32)))
    return jnp.stack(rows)

  pick = lambda x: x if per_leaf else jnp.sum(jnp.where(cut, x, 0), dtype=jnp.uint32)[None]
  sizes = jnp.array([x.size for x in some], jnp.uint32)
  high = jnp.maximum(pick(jnp.where(cut, sizes, 1)), 1) - 1
  wanted = wide.wide(pick(jnp.where(cut, quota, 0)))
  reach = wide.wide(pick(jnp.where(cut, ties, 0)))
  start = Bracket(jnp.zeros_like(high), high, reach, jax.tree.map(jnp.zeros_like, reach))
  found, _ = search(counts, counter.combine, start, wanted)
  place = jnp.where(cut, found.low[jnp.array(groups)], jnp.where(quota == ties, 0, sizes))
  masks = []
  for i, (x, g) in enumerate(zip(some, groups)):
    key = counter.keys(x)
    masks.append((key > at[g]) | ((key == at[g]) & (reversed_index(x.shape) >= place[i])))
  return tuple(masks)
