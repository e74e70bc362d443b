"""Passes over every weight: each in one read (and one write) of memory, without concatenating or sorting a model."""

from unlearnjax.kernels.project import gram, rank_update

__all__ = ["gram", "rank_update"]
