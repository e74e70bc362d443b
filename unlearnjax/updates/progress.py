"""Schedules over the fraction of a plan that is done, so that they do not depend on its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check
from unlearnjax.core.types import Array

Schedule = Callable[[Array], Array]
"""progress in [0, 1) -> factor."""


def by_progress(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by `schedule(view.progress)`: put it after the optimizer.

  Args:
    schedule: progress in [0, 1) -> factor, e.g. `step_decay((0.5, 0.8), 0.1)`.

  Raises:
    ValueError: a schedule that is no function; at update, without a view.

  Example:
    >>> from unlearnjax.core.types import View
    >>> tx = optax.chain(optax.sgd(1.0), by_progress(cosine()))
    >>> view = View(0, jax.random.key(0), {}, {}, (), progress=0.5)
    >>> updates, _ = tx.update({"w": jnp.ones(())}, tx.init({"w": jnp.ones(())}), view=view)
    >>> round(float(updates["w"]), 4)
    -0.5
  """

  if not callable(schedule):
    raise ValueError(f"schedule must be a function of the progress such as cosine(), got {schedule!r}")

  def update(updates, state, params=None, *, view=None, **extra):
    del params, extra
    if view is None:
      raise ValueError("by_progress reads view.progress: pass view= to update, as descend does")
    factor = schedule(jnp.asarray(view.progress, jnp.float32))
    return jax.tree.map(lambda u: u * factor.astype(u.dtype), updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def step_decay(boundaries: Sequence[float], factor: float = 0.1) -> Schedule:
  """`factor` to the number of boundaries that lie behind.

  Args:
    boundaries: fractions of the plan, in [0, 1]; (.5, .8, .9) for epochs 5, 8 and 9 of 10.
    factor: > 0.

  Example:
    >>> [round(float(step_decay((0.5, 0.8), 0.1)(p)), 3) for p in (0.0, 0.5, 0.9)]
    [1.0, 0.1, 0.01]
  """
  for boundary in boundaries:
    check.fraction("boundaries", boundary, zero=True)
  check.positive("factor", factor)

  def schedule(progress):
    progress = jnp.asarray(progress, jnp.float32)
    return jnp.asarray(factor, jnp.float32) ** sum((progress >= b) * 1.0 for b in boundaries)

  return schedule


def cosine(final: float = 0.0) -> Schedule:
  """From 1 down to `final` along half a cosine.

  Example:
    >>> [round(float(cosine()(p)), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
  """
  check.fraction("final", final, zero=True)

  def schedule(progress):
    progress = jnp.clip(jnp.asarray(progress, jnp.float32), 0.0, 1.0)
    return final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))

  return schedule


def linear_decay(until: float = 1.0, *, stairs: int | None = None) -> Schedule:
  """From 1 at the start to 0 at `until`, and 0 from there on.

  The decreasing l1 penalty of sparse unlearning (arXiv:2304.04934), which falls once an epoch and vanishes for the
  last E0 of E epochs, is `linear_decay(until=1 - E0 / E, stairs=E)`.

  Args:
    until: fraction of the plan at which 0 is reached, in (0, 1].
    stairs: number of equal steps over the whole plan (its epochs); None for a continuous line.

  Example:
    >>> [round(float(linear_decay(stairs=10)(p)), 3) for p in (0.0, 0.19, 0.95)]
    [1.0, 0.9, 0.1]
  """
  check.fraction("until", until)
  if stairs is not None:
    check.positive("stairs", stairs)

  def schedule(progress):
    progress = jnp.asarray(progress, jnp.float32)
    if stairs is not None:
      # a step that should land on an epoch's first update may fall short of it by a rounding
      progress = jnp.floor(progress * stairs + 1e-4) / stairs
    return jnp.maximum(1.0 - progress / until, 0.0)

  return schedule
