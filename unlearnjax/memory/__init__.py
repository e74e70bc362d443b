"""What is remembered: buffers of examples with static shapes, and partitions of the data among an ensemble.

A `Memory` is `init(example) -> tree`, `add(tree, role batch, key) -> tree`, `read(tree, key, size) -> role batch`; its
tree lives in `state.memory`, is part of every checkpoint, and never changes its shapes.

Example:
  >>> import jax, jax.numpy as jnp
  >>> from unlearnjax import memory
  >>> kept = memory.reservoir(100)
  >>> batch = {"y": jnp.arange(8), "id": jnp.arange(8), "valid": jnp.ones(8, bool)}
  >>> tree = kept.add(kept.init(batch), batch, jax.random.key(0))
  >>> int(kept.read(tree, jax.random.key(1), 4)["valid"].sum())
  4
"""

from unlearnjax.memory.buffers import balanced, reservoir, ring, stacked
from unlearnjax.memory.graph import affected, deletion_cost, shard_graph
from unlearnjax.memory.herd import herd, herding
from unlearnjax.memory.orders import cyclic_orders, expected_deletions, matching_orders, simulate_deletions
from unlearnjax.memory.recursive import Recursive, nothing_seen, recursive_ridge
from unlearnjax.memory.shards import assign_shards, slice_epochs
from unlearnjax.memory.solutions import Solutions, all_solutions, narrowed, span_of

__all__ = [
  "Recursive",
  "Solutions",
  "affected",
  "all_solutions",
  "assign_shards",
  "balanced",
  "cyclic_orders",
  "deletion_cost",
  "expected_deletions",
  "herd",
  "herding",
  "matching_orders",
  "narrowed",
  "nothing_seen",
  "recursive_ridge",
  "reservoir",
  "ring",
  "shard_graph",
  "simulate_deletions",
  "slice_epochs",
  "span_of",
  "stacked",
]
