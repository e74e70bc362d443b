"""Spectral regularization as a link of the optimizer chain."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import losses
from unlearnjax.core import check


def spectral(weight: float = 1e-4, power: int = 2) -> optax.GradientTransformationExtraArgs:
  """Adds to the gradient `weight` times that of `losses.spectral_penalty`, with one power iteration a step.

  It stands before the optimizer: `optax.chain(spectral(1e-3), optax.adam(1e-3))`, so that it is part of the loss and
  not a decoupled decay. The directions of the power iteration live in its state. Lewandowski et al., arXiv:2406.06811.

  Args:
    weight: lambda >= 0; the paper's grid is 1e-5 to 1e-2.
    power: k >= 1.

  Raises:
    ValueError: arguments out of range; at update, without params.

  Example:
    >>> tx, params = spectral(1.0), {"kernel": jnp.diag(jnp.array([2.0, 0.5]))}
    >>> zero, state = jax.tree.map(jnp.zeros_like, params), tx.init(params)
    >>> for _ in range(9):
    ...   gradient, state = tx.update(zero, state, params)
    >>> [round(float(x), 2) for x in jnp.diag(gradient["kernel"])]  # d/dsigma (sigma^2 - 1)^2 at 2
    [24.0, 0.0]
  """
  check.positive("weight", weight, zero=True)
  check.positive("power", power)

  def update(updates, state, params=None, **extra):
    del extra
    if params is None:
      raise ValueError("spectral needs params, as descend passes them")
    state = losses.spectral_step(params, state)
    slope = jax.grad(losses.spectral_penalty)(params, state, power)
    return jax.tree.map(lambda g, s: g + jnp.asarray(weight, g.dtype) * s.astype(g.dtype), updates, slope), state

  return optax.GradientTransformationExtraArgs(losses.spectral_start, update)
