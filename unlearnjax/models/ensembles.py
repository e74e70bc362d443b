"""Several models of one architecture that answer as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Model, ModelFn, Outputs, Params, Refs

SMALLEST_SHARE = 1e-6


@dataclasses.dataclass(frozen=True)
class EnsembleFn:
  """A `ModelFn` over stacked parameters; see `ensemble`."""

  fn: ModelFn
  size: int
  aggregate: str
  weights: str | None = None

  def __call__(
    self,
    params: Params,
    inputs: Mapping[str, Array],
    *,
    state: ArrayTree = (),
    refs: Refs = EMPTY,
    rng: Array | None = None,
    train: bool = False,
    capture: tuple[str, ...] = (),
    inject: Mapping[str, Callable[[Array], Array]] = EMPTY,
  ) -> Outputs:
    def member(params, state, key):
      return self.fn(params, inputs, state=state, refs=refs, rng=key, train=train, capture=capture, inject=inject)

    keys = None if rng is None else jax.random.split(rng, self.size)
    axes = (0, 0, None if rng is None else 0)
    out = jax.vmap(member, in_axes=axes, out_axes=Outputs(logits=0, hidden=1, state=0))(params, state, keys)
    weights = None if self.weights is None else refs[self.weights]
    return out.replace(logits=combined_logits(out.logits, self.aggregate, weights))

  def init(self, key: Array) -> Model:
    """Fresh members, each from a key of its own."""
    return stack_models([self.fn.init(k) for k in jax.random.split(key, self.size)], self)


def ensemble(fn: ModelFn, size: int, aggregate: str = "mean", weights: str | None = None) -> EnsembleFn:
  """One classifier made of `size` classifiers whose parameters and state are stacked along a leading axis.

  Args:
    fn: the members' function.
    size: number of members, >= 1.
    aggregate: "mean" averages the members' probabilities; "vote" counts their most likely classes.
    weights: name of a ref f[size] >= 0 that weighs the members; those of weight 0 have no say. None: all alike.

  Returns:
    a ModelFn. The softmax of its logits is the mean probability, or the share of votes, of each class; shares below
    1e-6 count as 1e-6, so that losses stay finite. Captured activations are [B, size, ...]; functions in `inject` act
    on each member's.

  Raises:
    ValueError: no members, or another aggregate.

  Example:
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> members = jnp.stack([jnp.eye(2), jnp.eye(2), jnp.array([[0.0, 9.0], [9.0, 0.0]])])
    >>> x = {"x": jnp.array([[1.0, 0.0]])}
    >>> [int(ensemble(fn, 3, how)(members, x).logits.argmax()) for how in ("mean", "vote")]
    [1, 0]
  """
  check.positive("size", size)
  check.one_of("aggregate", aggregate, ("mean", "vote"))
  return EnsembleFn(fn, size, aggregate, weights)


def combined_logits(logits: Array, aggregate: str = "mean", weights: Array | None = None) -> Array:
  """Log of the mean probability, or of the share of votes, over members.

  Args:
    logits: f[S, B, C].
    aggregate: "mean" or "vote".
    weights: f[S] >= 0, of the members; where all are 0, all count alike.

  Returns:
    f[B, C], in float32 or wider.

  Example:
    >>> logits = jnp.log(jnp.array([[[0.8, 0.2]], [[0.4, 0.6]]]))
    >>> [round(float(p), 4) for p in jnp.exp(combined_logits(logits))[0]]
    [0.6, 0.4]
    >>> [round(float(p), 4) for p in jnp.exp(combined_logits(logits, weights=jnp.array([0.0, 1.0])))[0]]
    [0.4, 0.6]
  """
  wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  if weights is None:
    if aggregate == "mean":
      return jax.nn.logsumexp(jax.nn.log_softmax(wide, axis=-1), axis=0) - jnp.log(wide.shape[0])
    share = jnp.full(wide.shape[0], 1 / wide.shape[0], wide.dtype)
  else:
    share = jnp.where(jnp.any(weights > 0), weights, 1).astype(wide.dtype)
    share = share / share.sum()
    if aggregate == "mean":
      return jax.nn.logsumexp(jax.nn.log_softmax(wide, axis=-1), axis=0, b=share[:, None, None])
  votes = jax.nn.one_hot(jnp.argmax(wide, axis=-1), wide.shape[-1], dtype=wide.dtype)
  return jnp.log(jnp.maximum(jnp.tensordot(share, votes, 1), SMALLEST_SHARE))


def stack_models(models: list[Model], fn: ModelFn) -> Model:
  """The members' parameters and states along a new leading axis, under one function."""
  stack = lambda *leaves: jnp.stack(leaves)
  params = jax.tree.map(stack, *[m.params for m in models])
  return Model(params, jax.tree.map(stack, *[m.state for m in models]), {}, fn)
