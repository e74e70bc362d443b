"""The linearised network: Jacobians of logits and the ridge solution in their span. For small data only."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, Array, ArrayTree, ModelFn, Params, Refs


def logit_jacobian(
  fn: ModelFn, params: Params, inputs: Mapping[str, Array], *, state: ArrayTree = (), refs: Refs = EMPTY
) -> ArrayTree:
  """Derivative of every logit of every example in every weight, in eval mode.

  Args:
    fn: the model.
    params: where the network is linearised.
    inputs: model inputs of n examples; all of them have a leading axis n.
    state: the model's non-parameter variables.
    refs: the model's refs.

  Returns:
    a tree like `params` with leaves f[n, C, ...]: n * C times the memory of the weights.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> logit_jacobian(fn, jnp.zeros((2, 1)), {"x": jnp.array([[3.0, 4.0]])}).tolist()
    [[[[3.0], [4.0]]]]
  """

  def logits(params, row):
    one = jax.tree.map(lambda x: x[None], dict(row))
    return fn(params, one, state=state, refs=refs, train=False).logits[0]

  return jax.vmap(jax.jacrev(logits), in_axes=(None, 0))(params, dict(inputs))


def ntk_gram(left: ArrayTree, right: ArrayTree | None = None) -> Array:
  """The neural tangent kernel between the logits of examples: J J'^T, f[n, C, n', C].

  Args:
    left: from `logit_jacobian`, leaves f[n, C, ...].
    right: the same for other examples; `left` by default.

  Example:
    >>> ntk_gram(jnp.array([[[3.0, 4.0]]])).tolist()
    [[[[25.0]]]]
  """
  right = left if right is None else right
  flat = lambda x: x.reshape(*x.shape[:2], -1)
  parts = jax.tree.map(lambda a, b: jnp.einsum("ncp,mdp->ncmd", flat(a), flat(b)), left, right)
  return sum(jax.tree.leaves(parts))


def ridge_displacement(
  jacobian: ArrayTree, residual: Array, weight_decay: float, keep: Array | None = None
) -> ArrayTree:
  """w = -G (G^T G + n weight_decay I)^-1 e: how far training moves the weights of the linearised network.

  The minimum of (1/n) sum_i |e_i + J_i w|^2 / 2 + weight_decay |w|^2 / 2 over the examples that are kept, where e is
  what the network is off by at the point of linearisation (Golatkar et al., arXiv:2003.02960).

  Args:
    jacobian: from `logit_jacobian`, leaves f[n, C, ...].
    residual: e, f[n, C]: outputs minus targets, or probabilities minus one-hot labels.
    weight_decay: > 0.
    keep: bool[n]; the examples that are trained on, all by default. n in the formula is their number.

  Returns:
    a tree like the parameters.

  Example:
    >>> round(float(ridge_displacement(jnp.array([[1.0]]), jnp.array([[-2.0]]), 1.0)), 4)
    1.0
  """
  check.positive("weight_decay", weight_decay)
  if jnp.ndim(residual) != 2:
    raise ValueError(f"residual must be [n, C], got shape {jnp.shape(residual)}")
  n, classes = residual.shape
  keep = jnp.ones(n, bool) if keep is None else jnp.asarray(keep, bool)
  # rows that are left out become zero rows: they decouple, and the shapes do not depend on how many there are
  mask = lambda x: jnp.where(keep.reshape(-1, *[1] * (x.ndim - 1)), x, 0)
  jacobian, residual = jax.tree.map(mask, jacobian), mask(residual)
  gram = ntk_gram(jacobian).reshape(n * classes, n * classes)
  damped = gram + jnp.maximum(keep.sum(), 1) * weight_decay * jnp.eye(n * classes, dtype=gram.dtype)
  solved = jnp.linalg.solve(damped, residual.ravel()).reshape(n, classes)
  return jax.tree.map(lambda j: -jnp.tensordot(solved, j, 2), jacobian)
