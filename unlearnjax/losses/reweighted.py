"""Gradient ascent with a weight a token: ascent that knows when to stop."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def wga(nll: Array, beta: float = 1.0) -> Array:
  """-sg(p^beta) nll, p = exp(-nll): ascent on a token fades as the token is forgotten. beta 0 is gradient ascent.

  Wang et al. 2025, arXiv:2502.19301.

  Args:
    nll: f[B, T] of `token_nll`; 0 where a token is not scored, and so is the result.
    beta: >= 0.

  Returns:
    f[B, T] <= 0.

  Example:
    >>> [round(float(x), 4) for x in wga(jnp.array([[0.5, 5.0]]))[0]]
    [-0.3033, -0.0337]
  """
  check.positive("beta", beta, zero=True)
  return reweighted(nll, lambda x: jnp.exp(-beta * x))


def satimp(nll: Array, beta1: float = 5.0, beta2: float = 1.0) -> Array:
  """-sg(p^beta1 (1 - p)^beta2) nll: weighs tokens by how far they are from forgotten, and by how important they are.

  The weight is largest at p = beta1 / (beta1 + beta2); both 0 is gradient ascent. Yang et al. 2025, arXiv:2505.11953.

  Args:
    nll: f[B, T] of `token_nll`; 0 where a token is not scored, and so is the result.
    beta1: >= 0, saturation.
    beta2: >= 0, importance.

  Returns:
    f[B, T] <= 0.

  Example:
    >>> [round(float(x), 4) for x in satimp(jnp.array([[0.5, 5.0]]))[0]]
    [-0.0161, -0.0]
  """
  check.positive("beta1", beta1, zero=True)
  check.positive("beta2", beta2, zero=True)
  # 1 - p = -expm1(-nll) keeps its digits where p is close to 1
  return reweighted(nll, lambda x: jnp.exp(-beta1 * x) * (-jnp.expm1(-x)) ** beta2)


def reweighted(nll: Array, weight: Callable[[Array], Array]) -> Array:
  """-sg(weight(nll)) nll, token by token.

  Args:
    nll: f[B, T].
    weight: of the nll, elementwise; it receives no gradient.

  Example:
    >>> reweighted(jnp.array([[2.0]]), lambda nll: 0.5).tolist()
    [[-1.0]]
  """
  shapes.batched("nll", nll, "B, T")
  nll = shapes.at_least_f32(nll)
  return -jax.lax.stop_gradient(weight(nll)) * nll
