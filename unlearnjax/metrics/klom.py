"""KLOM: how far the margins of unlearned models are from those of oracle models, example by example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs


def klom(margins_unlearned: Array, margins_oracle: Array, *, bins: int = 20, clip: float = 100.0) -> Array:
  """KL divergence of margins of unlearned models from margins of oracles, per example, in nats, >= 0; 0 is ideal.

  Margins (logit of the label minus logsumexp of the others) over many models are clipped, put into `bins` equal bins
  over their joint range, and KL(unlearned || oracle) of the two histograms is taken, with the oracle's probabilities
  floored at 1e-5. Report a high percentile over examples, e.g. `jnp.percentile(klom(...), 95)`, on forget, retain and
  test sets. Source: Georgiev et al. 2024, arXiv:2410.23232, with 100 models of each kind.

  Args:
    margins_unlearned: f[M, N], models by examples.
    margins_oracle: f[M', N], models retrained without the forget set.
    bins: number of bins >= 1; the largest margin falls into the last one.
    clip: margins are clipped to [-clip, clip], > 0.

  Returns:
    f[N], at most log(1e5) = 11.51.

  Raises:
    ValueError: arrays that are not [M, N] with one N, empty or hold NaN; bins no whole number >= 1; clip not positive.

  Example:
    >>> margins = jnp.array([[0.0, 0.0], [1.0, 1.0]])
    >>> [round(x, 4) for x in klom(margins, jnp.array([[0.0, 5.0], [1.0, 6.0]])).tolist()]
    [0.0, 10.8198]
  """
  if int(bins) != bins or bins < 1:
    raise ValueError(f"bins must be a whole number >= 1, got {bins}")
  check.positive("clip", clip)
  for name, margins in (("margins_unlearned", margins_unlearned), ("margins_oracle", margins_oracle)):
    shapes.batched(name, margins, "M, N")
    inputs.not_empty(name, margins)
    inputs.no_nan(name, margins)
  if np.shape(margins_unlearned)[1] != np.shape(margins_oracle)[1]:
    raise ValueError(
      "margins_unlearned and margins_oracle must have the same examples (columns), "
      f"got shapes {np.shape(margins_unlearned)} and {np.shape(margins_oracle)}"
    )
  unlearned, oracle = (jnp.clip(shapes.at_least_f32(m), -clip, clip) for m in (margins_unlearned, margins_oracle))
  low = jnp.minimum(unlearned.min(0), oracle.min(0))
  span = jnp.maximum(unlearned.max(0), oracle.max(0)) - low
  span = jnp.where(span > 0, span, 1.0)

  def histogram(margins):
    cell = jnp.clip(jnp.floor((margins - low) / span * bins).astype(jnp.int32), 0, bins - 1)
    column = jnp.broadcast_to(jnp.arange(margins.shape[1]), margins.shape)
    return jnp.zeros((margins.shape[1], int(bins))).at[column, cell].add(1.0) / margins.shape[0]

  return jnp.sum(jax.scipy.special.rel_entr(histogram(unlearned), jnp.maximum(histogram(oracle), 1e-5)), axis=-1)
