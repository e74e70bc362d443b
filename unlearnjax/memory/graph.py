"""Which shards the adapter of a shard reads, and what a deletion then costs (SAFE, arXiv:2304.13169)."""

from __future__ import annotations

import numpy as np

from unlearnjax.core import check

KINDS = ("isolated", "cliques", "ring", "random", "star", "all")


def shard_graph(nodes: int, kind: str, degree: int = 1, seed: int = 0) -> np.ndarray:
  """reads[i, j]: the adapter of shard i is trained on shard j. The diagonal is true.

  Args:
    nodes: n >= 1 shards.
    kind: "isolated", each reads itself; "cliques", disjoint groups of `degree` that read one another; "ring", itself
      and the next degree - 1; "random", itself and degree - 1 others; "star", itself and shard 0, the safe one; "all".
    degree: shards that a node reads, itself among them, from 1 to n; for cliques it divides n.
    seed: of "random".

  Returns:
    bool[n, n].

  Raises:
    ValueError: an unknown kind, or a degree that does not fit.

  Example:
    >>> shard_graph(3, "ring", 2).astype(int).tolist()
    [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
  """
  check.positive("nodes", nodes)
  check.one_of("kind", kind, KINDS)
  if not 1 <= degree <= nodes:
    raise ValueError(f"degree must be from 1 to the number of nodes, {nodes}, got {degree}")
  if kind == "cliques" and nodes % degree:
    raise ValueError(f"degree must divide the number of nodes, {nodes}, for cliques, got {degree}")
  reads = np.eye(nodes, dtype=bool)
  place = np.arange(nodes)
  if kind == "cliques":
    reads |= place[:, None] // degree == place // degree
  elif kind == "ring":
    reads |= (place - place[:, None]) % nodes < degree
  elif kind == "random":
    rng = np.random.default_rng(seed)
    for i in range(nodes):
      reads[i, rng.choice(np.delete(place, i), degree - 1, replace=False)] = True
  elif kind == "star":
    reads[:, 0] = True
  elif kind == "all":
    reads[:] = True
  return reads


def affected(reads: np.ndarray, shards: np.ndarray) -> np.ndarray:
  """Nodes, sorted, whose adapters have seen one of `shards`: deletion follows the edges backwards.

  Example:
    >>> affected(shard_graph(4, "ring", 2), np.array([2])).tolist()
    [1, 2]
  """
  return np.flatnonzero(reads[:, np.unique(shards)].any(1))


def deletion_cost(reads: np.ndarray, sizes: np.ndarray, prior: np.ndarray | None = None) -> float:
  """Mean number of examples that one deletion trains on again, an epoch.

  sum_j P(j) sum_{i reads j} |shards that i reads|. For requests that are uniform over n shards of size s, of which each
  node reads d, it is d^2 s whatever the graph.

  Args:
    reads: bool[n, n].
    sizes: f[n], examples of each shard.
    prior: f[n], chance that a request hits each shard; uniform by default.

  Example:
    >>> sizes = np.full(12, 5)
    >>> [deletion_cost(shard_graph(12, kind, 3), sizes) for kind in ("isolated", "cliques", "ring", "random", "all")]
    [5.0, 45.0, 45.0, 45.0, 720.0]
    >>> ordinary = np.r_[0, np.full(11, 1 / 11)]
    >>> (
    ...   round(deletion_cost(shard_graph(12, "star"), sizes, ordinary)),
    ...   deletion_cost(shard_graph(12, "star"), sizes, np.eye(12)[0]),
    ... )
    (10, 115.0)
  """
  nodes = len(reads)
  prior = np.full(nodes, 1 / nodes) if prior is None else np.asarray(prior, float)
  return float(round((reads @ np.asarray(sizes)) @ (reads @ prior), 9))
