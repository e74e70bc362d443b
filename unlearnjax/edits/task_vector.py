"""Task vectors: what training on some data did to the weights, taken back."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, Params


def negate_task(params: Params, tuned: Params, scale: float | Array = 1.0) -> Params:
  """params - scale (tuned - params): one step away from what further training on the forget set learnt.

  Ilharco et al. 2022, arXiv:2212.04089. Integer leaves stay.

  Args:
    params: the weights to edit.
    tuned: the same weights after training on what is to be forgotten.
    scale: length of the step; 0 edits nothing.

  Raises:
    ValueError: trees that do not fit, or, outside `jit`, weights that the training did not move.

  Example:
    >>> negate_task({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([1.5, 2.0])})["w"].tolist()
    [0.5, 2.0]
  """
  check.same_structure("tuned", tuned, params, "the parameters")
  moved = [jnp.any(a != b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(tuned))]
  anything = jnp.any(jnp.stack(moved))
  if not isinstance(anything, jax.core.Tracer) and not bool(anything):
    raise ValueError("tuned equals params: the task vector is zero, there is nothing to negate")
  step = lambda p, t: (p - scale * (t - p)).astype(p.dtype) if jnp.issubdtype(p.dtype, jnp.inexact) else p
  return jax.tree.map(step, params, tuned)
