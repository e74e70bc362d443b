"""Noisy gradient descent."""

from __future__ import annotations

import math

import optax

from unlearnjax.core import check
from unlearnjax.updates.noise import noise


def langevin(learning_rate: float, scale: float, l2: float = 0.0) -> optax.GradientTransformationExtraArgs:
  """-eta (g + l2 theta) + sqrt(2 eta) N(0, scale^2 I): a discretised Langevin diffusion.

  With the mean gradient of all data it is the Noisy-GD of Chourasia & Shah, arXiv:2210.08911. Where L is quadratic with
  curvature l2 alone, weights settle at a variance of scale^2 / (l2 (1 - eta l2 / 2)).

  Args:
    learning_rate: eta > 0.
    scale: >= 0. The noise of a step is sqrt(2 eta) times it.
    l2: >= 0.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from unlearnjax.core.types import View
    >>> tx, params = langevin(0.5, 2.0, l2=1.0), {"w": jnp.full(10_000, 3.0)}
    >>> view = View(0, jax.random.key(0), {}, {}, ())
    >>> updates, _ = tx.update({"w": jnp.ones(10_000)}, tx.init(params), params, view=view)
    >>> abs(float(updates["w"].mean()) + 2) < 0.1, round(float(updates["w"].std()), 1)
    (True, 2.0)
  """
  check.positive("learning_rate", learning_rate)
  check.positive("l2", l2, zero=True)
  return optax.chain(
    optax.add_decayed_weights(l2), optax.sgd(learning_rate), noise(math.sqrt(2 * learning_rate) * scale)
  )
