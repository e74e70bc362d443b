"""Combiners for anyone's own optax loop."""

from __future__ import annotations

from collections.abc import Mapping

import optax

from unlearnjax.core.types import Combiner


def as_optax(combiner: Combiner) -> optax.GradientTransformationExtraArgs:
  """A combiner as the first link of an optax chain, whose `updates` are {role: gradient}.

  Args:
    combiner: any combiner. `values`, `view` and `valid` reach it as extra arguments of `update`.

  Raises:
    ValueError: at update, for updates that are not a mapping by role.

  Example:
    >>> import jax.numpy as jnp
    >>> from unlearnjax.combine import weighted
    >>> tx = optax.chain(as_optax(weighted(forget=-1.0)), optax.sgd(0.5))
    >>> params = {"w": jnp.zeros(())}
    >>> grads = {"retain": {"w": jnp.array(3.0)}, "forget": {"w": jnp.array(1.0)}}
    >>> updates, _ = tx.update(grads, tx.init(params), params)
    >>> float(updates["w"])
    -1.0
  """

  def update(updates, state, params=None, *, values=None, view=None, valid=None, **extra):
    del extra
    if not isinstance(updates, Mapping):
      raise ValueError(f"a combiner's updates must be a mapping {{role: gradient}}, got {type(updates).__name__}")
    return combiner.update(updates, state, params, values=values, view=view, valid=valid)

  return optax.GradientTransformationExtraArgs(combiner.init, update)
