"""How much of the loss's decrease each weight is responsible for."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core.types import ArrayTree


class PathIntegral(NamedTuple):
  """State of `path_integral`: w and the inner optimizer's state; `optax.tree.get(state, "path")` finds w."""

  path: ArrayTree
  inner: ArrayTree


def path_integral(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """Accumulates w_j = -sum_steps g_j u_j, g the gradient that comes in and u the update that `tx` makes of it.

  As the steps become small the sum of w over all weights becomes the decrease of the loss whose gradient is g. Synaptic
  intelligence (Zenke et al., arXiv:1703.04200) reads it at the end of a task. g must be the gradient of the task's loss
  alone: a penalty belongs inside, `path_integral(penalized(tx, penalty, c))`, and so does everything else that changes
  the update, a mask included.

  Example:
    >>> tx = path_integral(optax.sgd(0.1))
    >>> theta = jnp.array(0.0)
    >>> _, state = tx.update(jnp.array(2.0), tx.init(theta), theta)
    >>> round(float(state.path), 3)
    0.4
  """
  inner = optax.with_extra_args_support(tx)

  def init(params):
    return PathIntegral(
      jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)), params), inner.init(params)
    )

  def update(updates, state, params=None, **extra):
    moved, inner_state = inner.update(updates, state.inner, params, **extra)
    path = jax.tree.map(lambda w, g, u: w - g.astype(w.dtype) * u.astype(w.dtype), state.path, updates, moved)
    return moved, PathIntegral(path, inner_state)

  return optax.GradientTransformationExtraArgs(init, update)
