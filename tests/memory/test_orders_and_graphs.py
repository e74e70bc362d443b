"""Orders of slices and graphs of shards: closed forms against counting."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnjax.memory import (
  affected,
  cyclic_orders,
  deletion_cost,
  expected_deletions,
  matching_orders,
  shard_graph,
  simulate_deletions,
)


def by_markov_chain(slices: int, orders: np.ndarray) -> float:
  """Expected deletions of one shard: the chain over the sets of slices that were hit, solved exactly."""
  dead = lambda hit: all(hit >> int(order[0]) & 1 for order in orders)
  value = np.zeros(1 << slices)
  for hit in range((1 << slices) - 1, -1, -1):
    if not dead(hit):
      fresh = [hit | 1 << j for j in range(slices) if not hit >> j & 1]
      value[hit] = (slices + sum(value[h] for h in fresh)) / len(fresh)
  return float(value[0])


@pytest.mark.parametrize("slices, values", [(3, (3, 4.5, 5.5)), (4, (4, 6, 22 / 3, 25 / 3))])
def test_expected_deletions_of_one_shard(slices, values):
  for orders, value in enumerate(values, 1):
    assert by_markov_chain(slices, cyclic_orders(slices, orders)) == pytest.approx(value)
    assert expected_deletions(1, slices, orders) == pytest.approx(value)


@pytest.mark.parametrize("orders", [1, 6])
def test_the_simulation_agrees_with_the_closed_form(orders):
  counts = [simulate_deletions(5, cyclic_orders(6, orders), seed) for seed in range(300)]
  error = np.std(counts) / np.sqrt(len(counts))
  assert abs(np.mean(counts) - expected_deletions(5, 6, orders)) < 4 * error


@pytest.mark.parametrize("slices", [3, 4, 6])
def test_equal_chances_give_a_latin_square(slices):
  found = matching_orders(np.full(slices, 0.2), slices)
  assert (np.sort(found, 0) == np.arange(slices)[:, None]).all() and (np.sort(found, 1) == np.arange(slices)).all()


@pytest.mark.parametrize("orders", [1, 2, 3, 4])
def test_every_order_is_a_permutation_and_safe_slices_come_first(orders):
  prior = np.array([0.55, 0.3, 0.1, 0.05])
  found = matching_orders(prior, orders)
  assert (np.sort(found, 1) == np.arange(4)).all() and len(set(found[:, 0])) == orders
  assert found[0 if orders == 1 else np.flatnonzero(found[:, 0] == 3)[0]].tolist()[-1] == 0


def test_likely_slices_last_survive_longer():
  prior = np.array([0.7, 0.1, 0.1, 0.1])
  mean = lambda orders: np.mean([simulate_deletions(1, orders, seed, prior) for seed in range(400)])
  assert mean(matching_orders(prior, 2)) > 1.3 * mean(cyclic_orders(4, 2))


@pytest.mark.parametrize("kind, degree", [("isolated", 1), ("cliques", 3), ("ring", 3), ("random", 3), ("all", 12)])
def test_the_cost_depends_on_the_degree_alone(kind, degree):
  reads = shard_graph(12, kind, degree, seed=3)
  assert reads.diagonal().all() and (reads.sum(1) == degree).all()
  assert deletion_cost(reads, np.full(12, 5)) == pytest.approx(5 * degree**2)
  counted = [sum(reads[i].sum() * 5 for i in affected(reads, np.array([j]))) for j in range(12)]
  assert np.mean(counted) == pytest.approx(5 * degree**2)


def test_the_safe_shard_is_dear_and_the_others_are_cheap():
  reads, sizes = shard_graph(12, "star"), np.full(12, 5)
  assert affected(reads, np.array([4])).tolist() == [4] and len(affected(reads, np.array([0]))) == 12
  assert deletion_cost(reads, sizes, np.eye(12)[4]) == 10 and deletion_cost(reads, sizes, np.eye(12)[0]) == 115


def test_deletion_follows_the_edges_backwards():
  reads = shard_graph(5, "ring", 2)
  assert reads[1].tolist() == [False, True, True, False, False]
  assert affected(reads, np.array([2])).tolist() == [1, 2] and affected(reads, np.array([2, 0])).tolist() == [
    0,
    1,
    2,
    4,
  ]
  assert affected(shard_graph(6, "cliques", 3), np.array([4])).tolist() == [3, 4, 5]


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda: cyclic_orders(3, 4), "orders must be from 1 to the number of slices, 3, got 4"),
    (lambda: matching_orders(np.array([1.0, 0.0]), 1), "prior must be positive"),
    (lambda: shard_graph(4, "tree"), "kind must be one of isolated"),
    (lambda: shard_graph(4, "ring", 5), "degree must be from 1 to the number of nodes, 4, got 5"),
    (lambda: shard_graph(5, "cliques", 2), "degree must divide the number of nodes, 5, for cliques"),
  ],
)
def test_messages(make, message):
  with pytest.raises(ValueError, match=message):
    make()
