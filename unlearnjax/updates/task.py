"""Rules that depend on which task is being learned."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from unlearnjax.core.types import Array


def by_task(factor: Callable[[Array], Array], *, ref: str = "task") -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by `factor(t)`, t the index of the task in `refs[ref]`: rates that fall from task to task.

  Args:
    factor: int32 scalar -> scalar.
    ref: name of the ref that holds the index.

  Raises:
    ValueError: at update, refs without it.

  Example:
    >>> import jax.numpy as jnp
    >>> tx = by_task(lambda t: 0.5**t)
    >>> float(tx.update({"w": jnp.ones(())}, tx.init({}), refs={"task": jnp.array(2)})[0]["w"])
    0.25
  """

  def update(updates, state, params=None, *, refs=None, **extra):
    del params, extra
    if ref not in (refs or {}):
      raise ValueError(f"by_task needs refs[{ref!r}]; found {sorted(refs or {})}")
    scale = factor(refs[ref])
    return jax.tree.map(lambda u: (scale * u).astype(u.dtype), updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
