"""How far a Newton step of a linear model ends from the optimum it aims at."""

from __future__ import annotations

import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.precise import full_precision
from unlearnjax.core.types import Array

BOUNDS = ("paper", "rows")


@full_precision
def newton_residual(features: Array, step: Array, lipschitz: float, *, bound: str = "paper") -> Array:
  """gamma max|x_i| |X| |v| |X v|: bounds the gradient that is left after the Newton step v of a linear model.

  The loss is sum_i l(w^T x_i, y_i) + (n l2 / 2) |w|^2, and the second derivative of l is gamma-Lipschitz. The
  data-dependent bound of certified removal (Guo et al., arXiv:1911.03030, Corollary 1) for rows of any norm; theirs are
  of norm one. Several outputs are models of their own, whose bounds add up in squares.

  Args:
    features: X, f[n, d], of the examples that stay. Rows of zeros change nothing.
    step: v, f[d] or f[d, C].
    lipschitz: gamma >= 0: 0 for squared error, whose step is exact, 1/4 for the logistic loss.
    bound: "paper", or "rows": (gamma / 2) |X| sqrt(sum_i (x_i v)^4), which is smaller. It is what is left when the
      change of curvature is integrated along v, row by row.

  Returns:
    f[] >= 0.

  Example:
    >>> float(newton_residual(jnp.eye(2), jnp.array([0.0, 2.0]), 0.25))
    1.0
  """
  check.positive("lipschitz", lipschitz, zero=True)
  check.one_of("bound", bound, BOUNDS)
  spectral = jnp.sqrt(jnp.linalg.eigvalsh(features.T @ features)[-1])
  if bound == "rows":
    return lipschitz / 2 * spectral * jnp.sqrt(jnp.sum((features @ step) ** 4))
  largest = jnp.sqrt(jnp.max(jnp.sum(jnp.square(features), axis=-1)))
  norms = jnp.linalg.norm(step, axis=0) * jnp.linalg.norm(features @ step, axis=0)
  return lipschitz * largest * spectral * jnp.linalg.norm(norms)
