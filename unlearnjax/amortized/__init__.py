"""Learning that happens beforehand: losses that are learned, and steps that are differentiated through.

`unroll` runs a `Transform` so that gradients pass through its steps; what is learned enters through refs, slots or
parameters, and is trained by `fit` like anything else.
"""

from unlearnjax.amortized.episodes import episodes
from unlearnjax.amortized.learned import dense_loss, init_dense_loss, learned_loss
from unlearnjax.amortized.unroll import unroll

__all__ = ["dense_loss", "episodes", "init_dense_loss", "learned_loss", "unroll"]
