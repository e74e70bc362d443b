"""Staying near earlier weights."""

from __future__ import annotations

from unlearnjax import losses
from unlearnjax.core.types import Objective
from unlearnjax.objectives.bind import ref


def anchored(*, importance: str | None = "importance", anchor: str = "anchor") -> Objective:
  """sum_j Omega_j (theta_j - anchor_j)^2: what EWC, SI, MAS and L2 have in common, without a factor.

  Papers differ in it: EWC has lambda / 2, SI and MAS have c. Scale it by `scaled`, or by a combiner's weight.

  Args:
    importance: name of `refs[importance]`, a tree like the parameters; None for Omega = 1.
    anchor: name of `refs[anchor] = {"params": ...}`, as `methods.parts.teacher` makes it.

  Raises:
    ValueError: when called, for a missing ref or one of another structure.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from unlearnjax.core.types import View
    >>> refs = {"importance": {"w": jnp.array([1.0, 0.0])}, "anchor": {"params": {"w": jnp.zeros(2)}}}
    >>> float(anchored()({"w": jnp.array([3.0, 5.0])}, None, View(0, jax.random.key(0), refs, {}, ()))[0])
    9.0
  """

  def objective(params, batch, view):
    del batch
    fixed = ref(view, anchor)["params"]
    if importance is None:
      return losses.squared_distance(params, fixed), {}
    return losses.weighted_distance(params, fixed, ref(view, importance)), {}

  return objective
