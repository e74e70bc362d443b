"""Partitions by hash."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from unlearnjax.memory.shards import assign_shards, slice_epochs

KEY = jax.random.key(0)


def test_an_example_keeps_its_place_whatever_else_there_is():
  ids = np.array([5, 900, -3, 2**31 - 1])
  shard, part = assign_shards(ids, KEY, 7, 3)
  alone = [assign_shards(np.array([i]), KEY, 7, 3) for i in ids]
  assert shard.tolist() == [int(s[0]) for s, _ in alone] and part.tolist() == [int(p[0]) for _, p in alone]


def test_places_are_uniform_and_independent_and_the_key_decides():
  shard, part = assign_shards(np.arange(30_000), KEY, 5, 4)
  counts = np.zeros((5, 4))
  np.add.at(counts, (shard, part), 1)
  assert ((counts - 1500) ** 2 / 1500).sum() < 44  # chi-square with 19 degrees of freedom, p = 0.001
  other, _ = assign_shards(np.arange(30_000), jax.random.key(1), 5, 4)
  assert abs(np.mean(other == shard) - 0.2) < 0.02


@pytest.mark.parametrize("epochs, slices", [(20, 1), (20, 5), (7, 3), (10, 50)])
def test_slices_cost_as_much_as_the_epochs(epochs, slices):
  each = slice_epochs(epochs, slices)
  passes = sum(e * (l + 1) / slices for l, e in enumerate(each))
  assert len(each) == slices and min(each) >= 0
  assert epochs - 1 - 1e-9 <= passes <= epochs + 1e-9
  assert sum(each) == 2 * epochs * slices // (slices + 1)


def test_messages():
  for call in (lambda: assign_shards(np.arange(3), KEY, 0, 1), lambda: slice_epochs(3, 0)):
    with pytest.raises(ValueError, match="must be > 0"):
      call()
  with pytest.raises(ValueError, match="epochs must be > 0"):
    slice_epochs(0, 2)
