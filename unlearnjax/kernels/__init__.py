"""Passes over every weight: each in one read (and one write) of memory, without concatenating or sorting a model."""

from unlearnjax.kernels.elementwise import accumulate_square, dampen, masked_update
from unlearnjax.kernels.moments import layer_moments
from unlearnjax.kernels.project import gram, rank_update
from unlearnjax.kernels.select import kth_largest, largest_mask, top_fraction_mask

__all__ = [
  "accumulate_square",
  "dampen",
  "gram",
  "kth_largest",
  "largest_mask",
  "layer_moments",
  "masked_update",
  "rank_update",
  "top_fraction_mask",
]
