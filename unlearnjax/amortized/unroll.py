"""Steps that gradients pass through."""

from __future__ import annotations

import jax

from unlearnjax.core.state import UnlearnState
from unlearnjax.core.types import EMPTY, Batch, Info, Refs, Transform


def unroll(
  transform: Transform, state: UnlearnState, batches: Batch, refs: Refs = EMPTY, *, remat: bool = False
) -> tuple[UnlearnState, Info]:
  """Some steps of a transform, differentiable in the state's parameters and slots and in refs.

  `core.fit` is the loop for training; it saves, resumes and stops, and cannot be differentiated. This one is a scan.

  Args:
    transform: the step.
    state: made by `transform.init`.
    batches: role batches whose arrays carry a leading axis of K steps.
    refs: read-only for the transform, and what is learned where it enters here.
    remat: computes every step again in the backward pass, for the memory of one step instead of K.

  Returns:
    the state after K steps, and what the transform reported, with a leading axis K.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> from unlearnjax.core import descend
    >>> loss = lambda params, batch, view: (view.refs["scale"] * jnp.sum(params["w"] ** 2), {})
    >>> step = descend({"train": loss}, optax.sgd(0.1))
    >>> start = step.init(UnlearnState.create({"w": jnp.ones(())}, rng=jax.random.key(0)))
    >>> after = lambda scale: unroll(step, start, {"train": {"y": jnp.zeros((2, 1))}}, {"scale": scale})[0].params["w"]
    >>> round(float(after(1.0)), 4), round(float(jax.grad(after)(1.0)), 4)  # (1 - 0.2 s)^2 and its slope
    (0.64, -0.32)
  """

  def body(state, batch):
    return transform.update(state, batch, refs)

  return jax.lax.scan(jax.checkpoint(body) if remat else body, state, dict(batches))
