"""Everything that changes, and nothing that does not."""

from __future__ import annotations

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, Model, Params


@flax.struct.dataclass
class UnlearnState:
  """The state of a run. Its structure is fixed for life by `Transform.init`.

  Attributes:
    step: int32 scalar, updates made so far.
    params: the trained parameters (theta, or phi under a reparameterization).
    opt_state: `(combiner state, optimizer state)` by the name of the `descend` that owns it.
    model_state: the model's non-parameter variables (batch statistics, dropout keys, ...).
    memory: buffers of examples by name.
    slots: running statistics by name: path integrals, duals, prototypes, Fisher.
    rng: a typed key; it never changes, every step folds its number into it.
  """

  step: Array
  params: Params
  opt_state: Mapping[str, ArrayTree]
  model_state: ArrayTree
  memory: Mapping[str, ArrayTree]
  slots: Mapping[str, ArrayTree]
  rng: Array

  @classmethod
  def create(
    cls, params: Params, *, rng: Array, model_state: ArrayTree = (), slots=None, memory=None, copy: bool = True
  ) -> UnlearnState:
    """Makes a state around `params`.

    Args:
      params: pytree of arrays.
      rng: a typed key, `jax.random.key(seed)`.
      model_state: the model's non-parameter variables.
      slots: running statistics by name.
      memory: buffers by name.
      copy: copies everything given, so that donating the state leaves the caller's arrays alive; False for callers who
        hand the weights over.

    Example:
      >>> state = UnlearnState.create({"w": jnp.ones(3)}, rng=jax.random.key(0))
      >>> int(state.step)
      0
    """
    take = (lambda tree: jax.tree.map(jnp.array, tree)) if copy else (lambda tree: jax.tree.map(jnp.asarray, tree))
    check.key("rng", rng)
    if isinstance(params, Model):
      raise TypeError("params must be a pytree of arrays, got a Model: pass model.params")
    return cls(
      step=jnp.zeros((), jnp.int32),
      params=take(params),
      opt_state={},
      model_state=take(model_state),
      memory=take(dict(memory or {})),
      slots=take(dict(slots or {})),
      rng=jnp.array(rng, copy=True) if copy else rng,
    )
