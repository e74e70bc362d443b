"""What is remembered: partitions of the data among the members of an ensemble."""

from unlearnjax.memory.graph import affected, deletion_cost, shard_graph
from unlearnjax.memory.orders import cyclic_orders, expected_deletions, matching_orders, simulate_deletions
from unlearnjax.memory.shards import assign_shards, slice_epochs

__all__ = [
  "affected",
  "assign_shards",
  "cyclic_orders",
  "deletion_cost",
  "expected_deletions",
  "matching_orders",
  "shard_graph",
  "simulate_deletions",
  "slice_epochs",
]
