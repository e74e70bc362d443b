"""Products with the generalized Gauss-Newton matrix: the Hessian without the curvature of the network itself."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, ModelFn, Params, RoleBatch, View
from unlearnjax.objectives.bind import column, forward


def mean_ggn(
  fn: ModelFn,
  loss: Callable[[Array, Array], Array],
  params: Params,
  batches: RoleBatch,
  vector: ArrayTree,
  view: View,
  *,
  target: str = "y",
) -> ArrayTree:
  """(1/n) sum_i J_i^T H_i J_i v, J_i the Jacobian of the outputs and H_i the Hessian of the loss in them, eval mode.

  For a loss that is convex in the outputs (cross entropy, squared error) the matrix is positive semi-definite, which
  the Hessian of a network is not: conjugate gradients need it. Both agree for models that are linear in the weights.

  Args:
    fn: the model.
    loss: `(outputs, targets) -> f[B]`, convex in the outputs.
    params: where the matrix is taken.
    batches: a role batch whose arrays carry a leading axis of batches, [K, B, ...].
    vector: tree like `params`.
    view: refs, state and rng.
    target: column of targets.

  Returns:
    a tree like `params`, float32 or wider; the mean is over all valid rows.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> from unlearnjax.losses import squared_error
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> x, y = jnp.array([[[2.0], [1.0]]]), jnp.zeros((1, 2))
    >>> batches = {"inputs": {"x": x}, "y": y, "valid": jnp.array([[True, False]])}
    >>> view = View(0, jax.random.key(0), {}, {}, ())
    >>> float(mean_ggn(fn, squared_error, jnp.zeros((1, 1)), batches, jnp.ones((1, 1)), view)[0, 0])
    8.0
  """
  check.same_structure("vector", vector, params, "params")

  def body(total, batch):
    outputs, along, pull = _linearise(lambda p: forward(fn, p, batch, view, train=False).logits, params, vector)
    targets, valid = column(batch, target), jnp.asarray(batch["valid"], bool)
    slope = jax.grad(lambda z: jnp.sum(jnp.where(valid, loss(z, targets), 0)))
    curved = jax.jvp(slope, (outputs,), (along,))[1]
    keep = valid.reshape(-1, *[1] * (curved.ndim - 1))  # a padded row may have any target, and so any curvature
    return jax.tree.map(lambda t, x: t + x.astype(t.dtype), total, pull(jnp.where(keep, curved, 0))[0]), None

  zeros = jax.tree.map(lambda v: jnp.zeros(v.shape, jnp.promote_types(v.dtype, jnp.float32)), vector)
  total, _ = jax.lax.scan(body, zeros, dict(batches))
  count = jnp.maximum(jnp.sum(batches["valid"]), 1)
  return jax.tree.map(lambda t: t / count, total)


def _linearise(f, params, vector):
  """(f(params), J vector, u -> J^T u)."""
  along = jax.jvp(f, (params,), (jax.tree.map(lambda v, p: v.astype(p.dtype), vector, params),))[1]
  outputs, pull = jax.vjp(f, params)
  return outputs, along, pull
