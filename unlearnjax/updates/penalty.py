"""Penalties that join the gradient inside the optimizer chain, here or where the step would lead."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check
from unlearnjax.core.types import Objective


def lookahead(
  tx: optax.GradientTransformation, penalty: Objective, weight: float
) -> optax.GradientTransformationExtraArgs:
  """Adds to the gradient `weight` times that of a penalty at theta + the update that `tx` would make without it.

  g <- g + weight * grad penalty(theta + u), u = tx(g) under stop_gradient; then tx takes the sum. The trial leaves the
  optimizer's state as it was. A penalty that vanishes at the current weights, such as a distance to them, acts from the
  first step (von Oswald et al., arXiv:1906.00695).

  Args:
    tx: the optimizer.
    penalty: an objective of the parameters alone, e.g. `reparam.hypernet_regularizer(net)`.
    weight: beta, >= 0.

  Raises:
    ValueError: weight < 0; at update, without `params` or `view`.

  Example:
    >>> from unlearnjax.core.types import View
    >>> tx = lookahead(optax.sgd(0.1), lambda params, batch, view: (0.5 * params**2, {}), weight=1.0)
    >>> view = View(0, jax.random.key(0), {}, {}, ())
    >>> theta = jnp.array(0.0)  # the penalty's gradient is zero here, and -0.1 where the step would lead
    >>> updates, _ = tx.update(jnp.array(1.0), tx.init(theta), theta, view=view)
    >>> round(float(updates), 3)
    -0.09
  """
  check.positive("weight", weight, zero=True)
  return _penalized("lookahead", tx, penalty, weight, ahead=True)


def penalized(
  tx: optax.GradientTransformation, penalty: Objective, weight: float
) -> optax.GradientTransformationExtraArgs:
  """Adds to the gradient `weight` times that of a penalty on the parameters, before `tx` sees it.

  The loss that is optimized is that of a further role with this penalty. Here it is a link of the chain, so that what
  stands outside, such as `path_integral`, still sees the gradient of the task alone.

  Args:
    tx: the optimizer.
    penalty: an objective of the parameters alone, e.g. `objectives.anchored()`.
    weight: >= 0.

  Raises:
    ValueError: weight < 0; at update, without `params` or `view`.

  Example:
    >>> from unlearnjax.core.types import View
    >>> tx = penalized(optax.sgd(0.1), lambda params, batch, view: (0.5 * params**2, {}), weight=2.0)
    >>> theta, view = jnp.array(3.0), View(0, jax.random.key(0), {}, {}, ())
    >>> round(float(tx.update(jnp.array(1.0), tx.init(theta), theta, view=view)[0]), 3)
    -0.7
  """
  check.positive("weight", weight, zero=True)
  return _penalized("penalized", tx, penalty, weight, ahead=False)


def _penalized(name, tx, penalty, weight, *, ahead):
  inner = optax.with_extra_args_support(tx)

  def update(updates, state, params=None, *, view=None, **extra):
    if params is None or view is None:
      raise ValueError(f"{name} needs params and view, as descend passes them")
    at = params
    if ahead:
      at = optax.apply_updates(params, inner.update(updates, state, params, view=view, **extra)[0])
    slope = jax.grad(lambda p: penalty(p, None, view)[0])(at)
    gradient = jax.tree.map(lambda g, s: g + jnp.asarray(weight, g.dtype) * s.astype(g.dtype), updates, slope)
    return inner.update(gradient, state, params, view=view, **{**extra, "grad": gradient})

  return optax.GradientTransformationExtraArgs(inner.init, update)
