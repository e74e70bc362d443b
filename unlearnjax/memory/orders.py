"""In which orders the slices of a shard are learned, and how many deletions that survives (S3T, arXiv:2406.16257)."""

from __future__ import annotations

import numpy as np

from unlearnjax.core import check


def cyclic_orders(slices: int, orders: int) -> np.ndarray:
  """The first `orders` rotations of 0..slices-1: every one of them starts with another slice.

  Args:
    slices: L >= 1.
    orders: B, from 1 to L; more would repeat a first slice, and gain no deletion.

  Returns:
    int64[B, L].

  Example:
    >>> cyclic_orders(3, 2).tolist()
    [[0, 1, 2], [1, 2, 0]]
  """
  _check(slices, orders)
  return (np.arange(orders)[:, None] + np.arange(slices)) % slices


def matching_orders(prior: np.ndarray, orders: int, deletions: int = 100) -> np.ndarray:
  """Orders for slices that are not equally likely to be hit: unlikely ones come first.

  Place by place, every order is extended by the assignment of slices (each to one order where that is possible) that
  maximizes sum_k k (1 - p(first k slices))^t.

  Args:
    prior: f[L] > 0, chances that a deletion hits each slice; they are normalised.
    orders: B, from 1 to L.
    deletions: t >= 1, the horizon.

  Returns:
    int64[B, L].

  Raises:
    ValueError: chances that are not positive, or more orders than slices.

  Example:
    >>> matching_orders(np.array([0.8, 0.1, 0.1]), 1)[0].tolist()[-1]
    0
  """
  from scipy.optimize import linear_sum_assignment

  prior = np.asarray(prior, float)
  _check(len(prior), orders)
  check.positive("deletions", deletions)
  if not (prior > 0).all():
    raise ValueError(f"prior must be positive, got {prior.tolist()}")
  prior = prior / prior.sum()
  found = np.zeros((orders, 0), int)
  for place in range(len(prior)):
    risk = prior[found].sum(1)[:, None] + prior
    gain = (place + 1) * np.maximum(1 - risk, 0.0) ** deletions - 1e-9 * risk  # the safest of equals
    used = np.zeros(gain.shape, bool)
    np.put_along_axis(used, found, True, axis=1)
    rows, chosen = linear_sum_assignment(np.where(used, -1e6, gain), maximize=True)
    clash = used[rows, chosen]  # no assignment gives every order another slice that it lacks
    chosen[clash] = np.where(used, -np.inf, gain)[clash].argmax(1)
    found = np.concatenate([found, chosen[:, None]], 1)
  return found


def expected_deletions(shards: int, slices: int, orders: int) -> float:
  """Mean number of deletions, uniform over slices, until no shard has a servable prefix: m L H_{m B}.

  A shard dies with the first slices of all its orders, so that the m B first slices are coupons among m L. SISA is
  B = 1. A deletion from a slice that is gone counts.

  Example:
    >>> [expected_deletions(1, 3, b) for b in (1, 2, 3)]
    [3.0, 4.5, 5.5]
    >>> round(expected_deletions(5, 6, 1), 1), round(expected_deletions(5, 6, 6), 1)
    (68.5, 119.8)
  """
  check.positive("shards", shards)
  _check(slices, orders)
  return float(shards * slices * np.sum(1 / np.arange(1, shards * orders + 1)))


def simulate_deletions(shards: int, orders: np.ndarray, seed: int, prior: np.ndarray | None = None) -> int:
  """Deletions of one random stream until no shard has a servable prefix.

  Args:
    shards: m >= 1.
    orders: int[B, L], the same in every shard.
    seed: of the stream.
    prior: f[L], chances of the slices of a shard; uniform by default.

  Example:
    >>> simulate_deletions(1, cyclic_orders(1, 1), seed=0)
    1
  """
  rng = np.random.default_rng(seed)
  slices = orders.shape[1]
  alive = np.full((shards, len(orders)), slices)
  count = 0
  while alive.any():
    shard, part = rng.integers(shards), rng.choice(slices, p=prior)
    alive[shard] = np.minimum(alive[shard], (orders == part).argmax(1))
    count += 1
  return count


def _check(slices: int, orders: int) -> None:
  check.positive("slices", slices)
  if not 1 <= orders <= slices:
    raise ValueError(f"orders must be from 1 to the number of slices, {slices}, got {orders}")
