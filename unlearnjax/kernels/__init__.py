"""Passes over every weight: exact selection, sums, edits and projections, without sorting or concatenating a model.

Every function takes `implementation=`:

* "xla": plain jnp. Reductions contract over all axes and nothing is reshaped, so leaves may lie on a mesh; that one
  runs everywhere.
* "pallas": a kernel, by Mosaic on a TPU and Triton on a GPU; a CPU interprets it, slowly, for tests. It wants leaves
  that lie whole on one device, of 32 bits or fewer and fewer than 2**31 entries; others take "xla".
* "auto", the default: "pallas" on a TPU or GPU for leaves of 65536 entries and more that are known to lie on one
  device, "xla" otherwise. Under `jit` that is known only where one device is visible, or inside `shard_map`.

Sums are in float32 or wider. Kernels are not differentiable; the xla forms of edits and updates are.
"""

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
