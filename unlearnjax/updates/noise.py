"""Gaussian noise on updates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name


def noise(scale: float) -> optax.GradientTransformationExtraArgs:
  """Adds scale * N(0, 1) to every update, drawn from `view.rng`: the same step draws the same noise after a resume.

  Args:
    scale: standard deviation, >= 0, in the units of the updates at this place of the chain.

  Raises:
    ValueError: at update, without a view.

  Example:
    >>> from unlearnjax.core.types import View
    >>> tx = noise(2.0)
    >>> view = View(0, jax.random.key(0), {}, {}, ())
    >>> updates, _ = tx.update({"w": jnp.zeros(10_000)}, tx.init({}), view=view)
    >>> round(float(updates["w"].std()), 1)
    2.0
  """
  check.positive("scale", scale, zero=True)

  def update(updates, state, params=None, *, view=None, **extra):
    del params, extra
    if view is None:
      raise ValueError("noise draws from view.rng: pass view= to update, as descend does")
    leaves, structure = jax.tree.flatten(updates)
    keys = jax.random.split(fold_name(view.rng, "update_noise"), max(len(leaves), 1))
    noisy = [u + jnp.asarray(scale, u.dtype) * jax.random.normal(k, u.shape, u.dtype) for u, k in zip(leaves, keys)]
    return jax.tree.unflatten(structure, noisy), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
