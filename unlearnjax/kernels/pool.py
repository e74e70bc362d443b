"""The leaves of a tree as keys that can be counted."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.kernels import keys, wide
from unlearnjax.kernels.count import count_reaching
from unlearnjax.kernels.search import Bracket, search
from unlearnjax.kernels.wide import Wide

SAMPLE = 1 << 14
JOINED = 1 << 17
_OFFSETS = (-4.5, -2.2, -1.0, -0.3, 0.3, 1.0, 2.2, 4.5, -3.2, -1.5, -0.6, 0.0, 0.6, 1.5, 3.2)


class Piece(NamedTuple):
  """An array and the leaves it holds: one as it is, or several small ones end to end."""

  array: Array
  leaves: tuple[int, ...]
  ends: tuple[int, ...]


class Pool(NamedTuple):
  """Pieces with the group that each belongs to (its own, with `layer`), and how entries are ordered."""

  pieces: list[Piece]
  groups: list[int]
  layer: bool
  dtype: jnp.dtype
  magnitude: bool
  local: bool
  thresholds: int
  implementation: str

  @property
  def bits(self) -> int:
    return keys.key_dtype(self.dtype).itemsize * 8

  @property
  def shift(self) -> int:
    return keys.low_zero_bits([p.array.dtype for p in self.pieces]) if self.bits == 32 else 0

  def keys(self, x: Array) -> Array:
    return keys.to_keys(x, self.dtype, self.magnitude)

  def signed(self, numbers: Array) -> Array:
    """Keys of the search's numbers, which are unsigned and leave out low bits that are always 0."""
    kind = keys.key_dtype(self.dtype)
    return jax.lax.bitcast_convert_type(numbers << self.shift, kind) ^ jnp.iinfo(kind).min

  def number(self, key: int) -> Array:
    """The search's number of a key."""
    return jnp.asarray((key + (1 << (self.bits - 1))) >> self.shift, jnp.uint64 if self.bits == 64 else jnp.uint32)

  def combine(self, counts: Array) -> Wide:
    """Counts a piece to counts a group."""
    return wide.wide(counts) if self.layer else jax.tree.map(lambda x: x[None], wide.total(counts))


def pool(leaves: tuple[Array, ...], scope: str, magnitude: bool, local: bool, implementation: str) -> Pool:
  """Leaves that hold nothing are left out."""
  some = [i for i, x in enumerate(leaves) if x.size]
  dtype = jnp.result_type(*leaves)
  small: list[int] = []
  if local and scope == "global":
    # every piece is compiled by itself and a network has many small leaves: joining them copies a 16th of it at most
    limit = max(JOINED, sum(x.size for x in leaves) // 16)
    for i in sorted(some, key=lambda i: leaves[i].size):
      limit -= leaves[i].size
      if limit < 0:
        break
      small.append(i)
  small = sorted(small) if len(small) > 1 else []
  pieces = [Piece(leaves[i], (i,), (leaves[i].size,)) for i in some if i not in small]
  if small:
    ends = tuple(sum(leaves[i].size for i in small[: n + 1]) for n in range(len(small)))
    common = leaves[small[0]].dtype if len({leaves[i].dtype for i in small}) == 1 else dtype
    pieces.append(Piece(jnp.concatenate([leaves[i].ravel().astype(common) for i in small]), tuple(small), ends))
  groups = list(range(len(pieces))) if scope == "layer" else [0] * len(pieces)
  # a CPU is busy with 8 comparisons a number, an accelerator still waits for memory with 16
  thresholds = 8 if jax.default_backend() == "cpu" else 16
  return Pool(pieces, groups, scope == "layer", dtype, magnitude, local, thresholds, implementation)


def kth(of: Pool, k: Wide, exact: bool) -> tuple[Array, Bracket, Array]:
  """(signed key[G] that at least k of each group reach and fewer exceed, its bracket, whether there is NaN)."""
  count, nan = k.low.shape[0], keys.nan_key(of.dtype)

  def counts(numbers):
    at = of.signed(numbers)
    return jnp.stack(
      [count_reaching(p.array, at[g], of.dtype, of.magnitude, of.implementation) for p, g in zip(of.pieces, of.groups)]
    )

  low = of.number(0 if of.magnitude and nan else -(1 << (of.bits - 1)))
  high = of.number(nan or (1 << (of.bits - 1)) - 1)
  sizes = [sum(p.array.size for p, g in zip(of.pieces, of.groups) if g == group) for group in range(count)]
  whole = jax.tree.map(lambda *x: jnp.stack(x), *[wide.wide(s) for s in sizes])
  start = Bracket(jnp.full(count, low), jnp.full(count, high), whole, jax.tree.map(jnp.zeros_like, whole))
  first = guess(of, k) if of.local and not of.layer else None
  watch = jnp.full(count, of.number(nan)) if nan else None
  bracket, watched = search(counts, of.combine, start, k, of.thresholds, first=first, watch=watch, exact=exact)
  return of.signed(bracket.low), bracket, jnp.any(watched > 0) if nan else jnp.array(False)


def guess(of: Pool, k: Wide) -> Array:
  """Thresholds [1, T] around the k-th largest, from a sample: a wrong guess costs a pass, never exactness."""
  n = sum(p.array.size for p in of.pieces)
  step = max(n // SAMPLE, 1)
  drawn = jnp.sort(jnp.concatenate([of.keys(thin(p.array, step)).ravel() for p in of.pieces]))
  part = 1 - wide.as_float(k) / n
  spread = jnp.sqrt(part * (1 - part) * drawn.size) + 1
  ranks = part * drawn.size + spread * jnp.array((_OFFSETS * 2)[: of.thresholds])
  key = drawn[jnp.clip(ranks, 0, drawn.size - 1).astype(jnp.int32)] ^ jnp.iinfo(drawn.dtype).min
  return (jax.lax.bitcast_convert_type(key, of.number(0).dtype) >> of.shift)[None]


def thin(x: Array, step: int) -> Array:
  """Every step-th entry or so, by strides along the axes: nothing is reshaped."""
  strides = []
  for size in x.shape:
    strides.append(min(step, size))
    step = -(-step // strides[-1])
  return jax.lax.slice(x, (0,) * x.ndim, x.shape, strides)
