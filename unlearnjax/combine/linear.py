"""Fixed coefficients."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Combiner


def weighted(**coefficients: float) -> Combiner:
  """Sum of the roles' gradients, each times its coefficient.

  Linear, so the roles share one backward pass.

  Args:
    **coefficients: a number a role; 1 for roles that are not named. Negative ones ascend.

  Raises:
    ValueError: at the first update, for a coefficient whose role does not exist.

  Example:
    >>> combiner = weighted(retain=0.95, forget=-0.05)
    >>> gradient, _ = combiner.update({"retain": {"w": jnp.ones(1)}, "forget": {"w": 2 * jnp.ones(1)}}, (), {})
    >>> round(float(gradient["w"][0]), 4)
    0.85
  """

  def init(params):
    del params
    return ()

  def weights(state, roles):
    del state
    unknown = sorted(set(coefficients) - set(roles))
    if unknown:
      raise ValueError(f"weighted has coefficients for {unknown}, but the roles are {sorted(roles)}")
    return {role: coefficients.get(role, 1.0) for role in roles}

  def update(grads, state, params, *, values=None, view=None, valid=None):
    del params, values, view, valid
    if not grads:
      raise ValueError("weighted got no gradients")
    factors = weights(state, tuple(grads))
    first, *others = grads
    for role in others:
      check.same_structure(f"role {role!r} of weighted", grads[role], grads[first], f"role {first!r}")
    total = lambda *leaves: sum(factors[role] * leaf for role, leaf in zip(grads, leaves))
    return jax.tree.map(total, *grads.values()), state

  for role, value in coefficients.items():
    if not jnp.isscalar(value) or isinstance(value, str) or value != value:
      raise ValueError(f"the coefficient of {role!r} must be a number, got {value!r}")
  return Combiner(init, update, weights)
