"""Freezing weights by a mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check


def mask_by(name: str, source: str = "refs") -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by the mask `refs[name]`; boolean masks freeze, others scale.

  It must stand last in the chain: masked gradients alone leave weight decay and momentum free to move what should be
  frozen. Last, frozen weights stay bit-equal.

  Args:
    name: key of a tree of masks with the structure and shapes of the parameters that are optimized.
    source: "refs" for fixed masks, "slots" for masks that change during the run.

  Raises:
    ValueError: at update, for a mask that is missing or that does not fit the parameters.

  Example:
    >>> tx = optax.chain(optax.adamw(0.1), mask_by("saliency"))
    >>> params = {"w": jnp.ones(2)}
    >>> refs = {"saliency": {"w": jnp.array([True, False])}}
    >>> updates, _ = tx.update({"w": jnp.ones(2)}, tx.init(params), params, refs=refs)
    >>> [round(x, 3) for x in optax.apply_updates(params, updates)["w"].tolist()]
    [0.9, 1.0]
  """
  check.one_of("source", source, ("refs", "slots"))

  def update(updates, state, params=None, *, refs=None, slots=None, **extra):
    del params, extra
    found = (refs if source == "refs" else slots) or {}
    if name not in found:
      raise ValueError(f"mask_by needs {source}[{name!r}]; found {sorted(found)}")
    mask = found[name]
    check.same_structure(f"the mask {name!r}", mask, updates, "the parameters")
    return jax.tree.map(_apply, mask, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _apply(mask, update):
  # adding -0.0 changes no bit of any weight, while adding +0.0 would turn -0.0 into 0.0
  frozen = jnp.asarray(-0.0, update.dtype)
  if mask.dtype == jnp.bool_:
    return jnp.where(mask, update, frozen)
  return jnp.where(mask != 0, update * mask.astype(update.dtype), frozen)
