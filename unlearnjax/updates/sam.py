"""Sharpness-aware minimisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check


def sam(tx: optax.GradientTransformation, rho: float = 0.05) -> optax.GradientTransformationExtraArgs:
  """Gives `tx` the gradient at theta + rho g / |g| instead of g (Foret et al., arXiv:2010.01412).

  The second gradient is that of `value_fn`, the combined loss on the whole batch: with a combiner that is not linear
  it is the gradient of the plain sum of the roles, and with microbatches it needs the memory of the whole batch.

  Args:
    tx: the optimizer; it receives all extra arguments, with `grad` the new gradient.
    rho: radius, > 0.

  Raises:
    ValueError: at update, without `params` or `value_fn`.

  Example:
    >>> tx = sam(optax.sgd(0.5), rho=1.0)
    >>> params = jnp.array(2.0)
    >>> value_fn = lambda p, **_: 0.5 * p**2
    >>> updates, _ = tx.update(params, tx.init(params), params, value_fn=value_fn)
    >>> float(updates)  # the gradient is taken at 3
    -1.5
  """
  check.positive("rho", rho)
  inner = optax.with_extra_args_support(tx)

  def update(updates, state, params=None, *, value_fn=None, **extra):
    if params is None or value_fn is None:
      raise ValueError("sam needs params and value_fn, as descend passes them")
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(g.astype(jnp.float32))) for g in jax.tree.leaves(updates)))
    step = jnp.where(norm > 0, rho / jnp.where(norm > 0, norm, 1.0), 0.0)
    ahead = jax.tree.map(lambda p, g: p + (step * g).astype(p.dtype), params, updates)
    gradient = jax.grad(lambda p: value_fn(p))(ahead)
    return inner.update(gradient, state, params, value_fn=value_fn, **{**extra, "grad": gradient})

  return optax.GradientTransformationExtraArgs(inner.init, update)
