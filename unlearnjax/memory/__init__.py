"""What is remembered: partitions of the data among the members of an ensemble."""

from unlearnjax.memory.shards import assign_shards, slice_epochs

__all__ = ["assign_shards", "slice_epochs"]
