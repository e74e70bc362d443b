"""Lagrange multipliers as coefficients: one role's loss is lowered while others are held below a limit."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Combiner


def primal_dual(
  limits: Mapping[str, float], *, rate: float = 1.0, start: float = 1.0, warmup: float = 0.0, **coefficients: float
) -> Combiner:
  """Sum of gradients in which every limited role has a multiplier: mu <- max(0, mu + rate (loss - limit)) a step.

  Primal-dual descent-ascent on min L_forget subject to L_retain <= limit. Linear, so the roles share one backward pass;
  the multipliers are part of the optimizer state. A limit must lie above the loss at the start, or it only measures the
  rate. Entesari et al. 2025, arXiv:2506.05314.

  Args:
    limits: {role: largest loss allowed}.
    rate: step of the multipliers, > 0.
    start: their first value, >= 0.
    warmup: fraction of the plan before they move, in [0, 1).
    **coefficients: a number for each role without limit; 1 for those that are not named.

  Raises:
    ValueError: no limits, a rate or start out of range; at the first update, a role that does not exist.

  Example:
    >>> combiner = primal_dual({"retain": 0.3}, rate=2.0)
    >>> state = combiner.init({})
    >>> _, state = combiner.update({"forget": {}, "retain": {}}, state, {}, values={"retain": jnp.array(0.8)})
    >>> {role: float(c) for role, c in combiner.weights(state, ("forget", "retain")).items()}
    {'forget': 1.0, 'retain': 2.0}
  """
  if not limits:
    raise ValueError("primal_dual needs at least one limit")
  check.positive("rate", rate)
  check.positive("start", start, zero=True)
  check.fraction("warmup", warmup, zero=True, one=False)

  def init(params):
    del params
    return {role: jnp.asarray(start, jnp.float32) for role in limits}

  def weights(state, roles):
    unknown = sorted((set(limits) | set(coefficients)) - set(roles))
    if unknown:
      raise ValueError(f"primal_dual has limits or coefficients for {unknown}, but the roles are {sorted(roles)}")
    return {role: state[role] if role in limits else coefficients.get(role, 1.0) for role in roles}

  def update(grads, state, params, *, values=None, view=None, valid=None):
    del params, valid
    if values is None:
      raise ValueError(f"primal_dual reads the losses of {sorted(limits)}: pass values={{role: loss}}")
    factors = weights(state, tuple(grads))
    total = lambda *leaves: sum(factors[role] * leaf for role, leaf in zip(grads, leaves)).astype(leaves[0].dtype)
    moving = 1.0 if view is None or not warmup else jnp.asarray(view.progress >= warmup, jnp.float32)
    step = lambda role: state[role] + moving * rate * (jnp.asarray(values[role], jnp.float32) - limits[role])
    return jax.tree.map(total, *grads.values()), {role: jnp.maximum(step(role), 0.0) for role in limits}

  return Combiner(init, update, weights)
