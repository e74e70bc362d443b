"""Which part of a sharded, sliced ensemble an example belongs to, and how long each slice is trained."""

from __future__ import annotations

import jax
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array


def assign_shards(ids: np.ndarray, key: Array, shards: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
  """Shard and slice of every example: a hash of its id and the key, so that they depend on no other example.

  Removing or adding examples moves none of the others, which an exact deletion needs. Shards are as unequal as a
  multinomial draw makes them.

  Args:
    ids: int[n].
    key: a typed key; it decides the partition.
    shards: S >= 1.
    slices: R >= 1.

  Returns:
    (int64[n] in [0, S), int64[n] in [0, R)).

  Example:
    >>> shard, part = assign_shards(np.arange(1000), jax.random.key(0), 4, 2)
    >>> bool((assign_shards(np.array([7]), jax.random.key(0), 4, 2)[0] == shard[7]).all())
    True
    >>> sorted(set(shard.tolist())), sorted(set(part.tolist()))
    ([0, 1, 2, 3], [0, 1])
  """
  check.positive("shards", shards)
  check.positive("slices", slices)
  words = np.asarray(jax.random.key_data(key)).ravel().astype(np.uint64)
  hashed = np.asarray(ids).astype(np.int64).astype(np.uint64)
  for word in words:
    hashed = _mix(hashed + word)
  cell = (hashed % np.uint64(shards * slices)).astype(np.int64)
  return cell // slices, cell % slices


def slice_epochs(epochs: int, slices: int) -> tuple[int, ...]:
  """Epochs of training at every slice, when slice l trains on slices 1..l.

  floor(l a) - floor((l - 1) a) with a = 2 E / (R + 1): the examples seen add up to those of E epochs over the whole
  shard, up to the rounding. Bourtoule et al., arXiv:1912.03817.

  Args:
    epochs: E >= 1, of training without slices.
    slices: R >= 1.

  Example:
    >>> slice_epochs(10, 1), slice_epochs(10, 4)
    ((10,), (4, 4, 4, 4))
    >>> slice_epochs(3, 4)
    (1, 1, 1, 1)
  """
  check.positive("epochs", epochs)
  check.positive("slices", slices)
  ends = [2 * epochs * part // (slices + 1) for part in range(slices + 1)]
  return tuple(b - a for a, b in zip(ends, ends[1:]))


def _mix(x: np.ndarray) -> np.ndarray:
  """The finalizer of SplitMix64: neighbouring ids get unrelated numbers."""
  x = x + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))
