"""Staying near a reference point."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check


def within_ball(name: str, radius: float) -> optax.GradientTransformationExtraArgs:
  """Shortens updates so that the parameters stay within a Euclidean ball around `refs[name]`.

  theta + u is projected onto {|theta - ref| <= radius}, over all leaves together. It stands last in the chain, or
  before a mask.

  Args:
    name: key of the centre, a tree with the structure of the parameters.
    radius: > 0, in the units of the parameters.

  Raises:
    ValueError: a radius <= 0; at update, a centre that is missing or does not fit.

  Example:
    >>> tx = within_ball("start", 1.0)
    >>> updates, _ = tx.update(
    ...   {"w": jnp.array([3.0, 4.0])},
    ...   tx.init({}),
    ...   {"w": jnp.zeros(2)},
    ...   refs={"start": {"w": jnp.zeros(2)}},
    ... )
    >>> [round(float(x), 3) for x in updates["w"]]
    [0.6, 0.8]
  """
  check.positive("radius", radius)

  def update(updates, state, params=None, *, refs=None, **extra):
    del extra
    if name not in (refs or {}):
      raise ValueError(f"within_ball needs refs[{name!r}]; found {sorted(refs or {})}")
    check.same_structure(f"the centre {name!r}", refs[name], updates, "the parameters")
    away = jax.tree.map(lambda p, u, c: p + u - c, params, updates, refs[name])
    shrink = jnp.minimum(1.0, radius / jnp.maximum(optax.tree.norm(away), jnp.finfo(jnp.float32).tiny))
    project = lambda p, u, c, a: jnp.where(shrink < 1, c + (shrink * a).astype(p.dtype) - p, u)
    return jax.tree.map(project, params, updates, refs[name], away), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
