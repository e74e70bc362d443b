"""Which of the entries that equal the k-th largest are kept: the earliest."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.kernels import wide
from unlearnjax.kernels.count import count_true, reversed_index
from unlearnjax.kernels.pool import Pool
from unlearnjax.kernels.search import Bracket, search
from unlearnjax.kernels.wide import Wide


def first_of_equals(of: Pool, at: Array, k: Wide) -> tuple[Array, ...]:
  """A mask a piece: everything above the keys `at` [G], and of the entries equal to them the earliest, up to k."""
  pairs = list(zip(of.pieces, of.groups))
  equal = lambda p, g: of.keys(p.array) == at[g]
  order = sorted(i for p in of.pieces for i in p.leaves)
  place = {leaf: row for row, leaf in enumerate(order)}
  ties = jnp.zeros(len(order), jnp.uint32)
  above, running = [], {}
  for i, (p, g) in enumerate(pairs):
    key = of.keys(p.array)
    over, same = count_true([key > at[g], key == at[g]])
    above.append(over)
    if len(p.leaves) > 1:
      running[i] = jnp.cumsum(key == at[g], dtype=jnp.uint32)
      same = jnp.diff(running[i][jnp.array(p.ends) - 1], prepend=jnp.uint32(0))
    ties = ties.at[jnp.array([place[leaf] for leaf in p.leaves])].set(same)
  above = jnp.stack(above)
  if of.layer:
    quota = jnp.minimum(ties, wide.narrow(wide.minus(k, wide.wide(above))))
  else:
    missing = wide.minus(jax.tree.map(lambda x: x[0], k), wide.total(above))
    missing = jax.tree.map(lambda x: jnp.broadcast_to(x, ties.shape), missing)
    quota = jnp.minimum(ties, wide.narrow(wide.minus(missing, wide.running(ties))))
  held = lambda x: jnp.stack([jnp.sum(x[jnp.array([place[i] for i in p.leaves])], dtype=x.dtype) for p in of.pieces])
  first = _cut(of, at, held(quota), held(ties))
  masks = []
  for i, (p, g) in enumerate(pairs):
    kept = running[i] <= held(quota)[i] if i in running else reversed_index(p.array.shape) >= first[i]
    masks.append((of.keys(p.array) > at[g]) | (equal(p, g) & kept))
  return tuple(masks)


def _cut(of: Pool, at: Array, quota: Array, ties: Array) -> Array:
  """uint32[P]: the reversed index from which on ties are kept; at most one piece a group needs a search for it."""
  sizes = jnp.array([p.array.size for p in of.pieces], jnp.uint32)
  single = jnp.array([len(p.leaves) == 1 for p in of.pieces])
  cut = (quota > 0) & (quota < ties) & single

  def counts(thresholds):
    rows = []
    for i, (p, g) in enumerate(zip(of.pieces, of.groups)):

      def reaching(p=p, g=g):
        tie, place = of.keys(p.array) == at[g], reversed_index(p.array.shape)
        return count_true([tie & (place >= thresholds[g, j]) for j in range(of.thresholds)])

      none = jnp.zeros(of.thresholds, jnp.uint32)
      rows.append(none if len(p.leaves) > 1 else jax.lax.cond(cut[i], reaching, lambda none=none: none))
    return jnp.stack(rows)

  pick = lambda x: x if of.layer else jnp.sum(x, dtype=x.dtype)[None]
  high = pick(jnp.where(cut, sizes - 1, 0))
  reach = wide.wide(pick(jnp.where(cut, ties, 0)))
  start = Bracket(jnp.zeros_like(high), high, reach, jax.tree.map(jnp.zeros_like, reach))
  found, _ = search(counts, of.combine, start, wide.wide(pick(jnp.where(cut, quota, 0))), of.thresholds)
  return jnp.where(cut, found.low[jnp.array(of.groups)], jnp.where(quota == ties, 0, sizes))
