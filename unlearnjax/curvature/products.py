"""Products of Hessians, Gauss-Newton matrices and Jacobians with vectors, over role batches, without the matrices.

All of them take a role batch of any size, weigh rows by `valid`, and work through `microbatch` rows at a time: the
result does not depend on it, memory does. The rows of a microbatch are spread over the batch, so a batch that is split
over devices stays split.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import cast_like
from unlearnjax.core.types import Array, ArrayTree, ModelFn, Objective, Params, RoleBatch, View
from unlearnjax.curvature.rows import gradient_of, join_rows, microbatches, zeros_f32
from unlearnjax.objectives.bind import column, forward


def scalar_hvp(f: Callable[[Params], Array], params: Params, vector: ArrayTree) -> ArrayTree:
  """Hessian of a scalar function times a vector, forward over reverse.

  Args:
    f: params -> f[].
    params: where the Hessian is taken.
    vector: tree like `params`.

  Example:
    >>> scalar_hvp(lambda x: x[0] ** 2 * x[1], jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])).tolist()
    [4.0, 2.0]
  """
  check.same_structure("vector", vector, params, "params")
  return jax.jvp(jax.grad(f), (params,), (cast_like(vector, params),))[1]


def hvp(
  objective: Objective,
  params: Params,
  batch: RoleBatch,
  vector: ArrayTree,
  view: View | None = None,
  *,
  microbatch: int | None = None,
) -> ArrayTree:
  """Hessian of an objective over a role batch, times a vector.

  Args:
    objective: a mean over rows, built with train=False; it must report `aux["weight"]` where there are microbatches.
    params: where the Hessian is taken.
    batch: a role batch of B rows.
    vector: tree like `params`.
    view: refs, state and rng of the objective; none of them by default.
    microbatch: rows at a time; all by default.

  Returns:
    a tree like `params`, float32 or wider: the Hessian of the mean over all valid rows, times the vector.

  Raises:
    ValueError: a vector of another structure or shape, an objective built for training, or microbatches of an
      objective without a weight.

  Example:
    >>> from unlearnjax.objectives import mean
    >>> loss = lambda params, batch, view: mean(batch["y"] * params**2, batch)
    >>> batch = {"y": jnp.array([1.0, 3.0, 9.0]), "valid": jnp.array([True, True, False])}
    >>> float(hvp(loss, jnp.array(5.0), batch, jnp.array(1.0), microbatch=2))
    4.0
  """
  check.same_structure("vector", vector, params, "params")
  vector, view = cast_like(vector, params), _view(view)
  split = microbatches(batch, microbatch)
  parts = jnp.shape(split["valid"])[0]

  def part(rows, key):
    slope = lambda p: gradient_of(objective, p, rows, view._replace(rng=key))
    _, product, aux = jax.jvp(slope, (params,), (vector,), has_aux=True)
    if "weight" not in aux and parts > 1:
      raise ValueError("microbatch needs an objective that reports aux['weight'], the denominator of its mean")
    return product, jnp.asarray(aux.get("weight", 1), float)

  def body(carry, xs):
    total, weights = carry
    product, weight = part(*xs)
    return (jax.tree.map(lambda t, x: t + weight.astype(t.dtype) * x, total, product), weights + weight), None

  if parts == 1:
    product, _ = part(jax.tree.map(lambda x: x[0], split), view.rng)
    return jax.tree.map(lambda x, z: x.astype(z.dtype), product, zeros_f32(params))
  start = (zeros_f32(params), jnp.zeros((), float))
  (total, weight), _ = jax.lax.scan(body, start, (split, jax.random.split(view.rng, parts)))
  return jax.tree.map(lambda t: t / jnp.where(weight > 0, weight, 1).astype(t.dtype), total)


def ggn_vp(
  fn: ModelFn,
  loss: Callable[[Array, Array], Array],
  params: Params,
  batch: RoleBatch,
  vector: ArrayTree,
  view: View | None = None,
  *,
  target: str = "y",
  microbatch: int | None = None,
) -> ArrayTree:
  """(1/n) sum_i J_i^T H_i J_i v, J_i the Jacobian of the outputs and H_i the Hessian of the loss in them, eval mode.

  The generalized Gauss-Newton matrix is the Hessian without the curvature of the network itself. For a loss that is
  convex in the outputs (cross entropy, squared error) it is positive semi-definite, which the Hessian of a network is
  not: conjugate gradients need it. Both agree for models that are linear in the weights.

  Args:
    fn: the model.
    loss: `(outputs, targets) -> f[B]`, convex in the outputs.
    params: where the matrix is taken.
    batch: a role batch of B rows.
    vector: tree like `params`.
    view: refs, state and rng; none of them by default.
    target: column of targets.
    microbatch: rows at a time; all by default.

  Returns:
    a tree like `params`, float32 or wider; the mean is over all valid rows.

  Raises:
    ValueError: a vector of another structure or shape, or a batch without the targets.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> x, valid = jnp.array([[2.0], [1.0]]), jnp.array([True, False])
    >>> batch = {"inputs": {"x": x}, "y": jnp.zeros(2), "valid": valid}
    >>> float(ggn_vp(fn, losses.squared_error, jnp.zeros((1, 1)), batch, jnp.ones((1, 1)))[0, 0])
    8.0
  """
  check.same_structure("vector", vector, params, "params")
  view = _view(view)

  def body(total, rows):
    f = _outputs(fn, rows, view)
    along = jax.jvp(f, (params,), (cast_like(vector, params),))[1]
    outputs, pull = jax.vjp(f, params)
    targets, valid = column(rows, target), jnp.asarray(rows["valid"], bool)
    slope = jax.grad(lambda z: jnp.sum(jnp.where(valid, loss(z, targets), 0)))
    curved = jax.jvp(slope, (outputs,), (along,))[1]  # a padded row may have any target, and so any curvature
    return jax.tree.map(lambda t, x: t + x.astype(t.dtype), total, pull(_masked(curved, valid))[0]), None

  total, _ = jax.lax.scan(body, zeros_f32(params), microbatches(batch, microbatch))
  count = jnp.maximum(jnp.sum(batch["valid"]), 1)
  return jax.tree.map(lambda t: t / count.astype(t.dtype), total)


def jacobian_vp(
  fn: ModelFn,
  params: Params,
  batch: RoleBatch,
  vector: ArrayTree,
  view: View | None = None,
  *,
  microbatch: int | None = None,
) -> Array:
  """J v: how the outputs change along a direction of the weights, eval mode.

  Args:
    fn: the model.
    params: where the Jacobian is taken.
    batch: a role batch of B rows; only inputs and `valid` are read.
    vector: tree like `params`.
    view: refs, state and rng; none of them by default.
    microbatch: rows at a time; all by default.

  Returns:
    f[B, ...] of the shape of the outputs, float32 or wider; 0 in rows that are not valid.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> batch = {"inputs": {"x": jnp.array([[2.0], [3.0]])}, "valid": jnp.array([True, True])}
    >>> jacobian_vp(fn, jnp.zeros((1, 1)), batch, jnp.ones((1, 1))).tolist()
    [[2.0], [3.0]]
  """
  check.same_structure("vector", vector, params, "params")
  view = _view(view)

  def body(rows):
    along = jax.jvp(_outputs(fn, rows, view), (params,), (cast_like(vector, params),))[1]
    return _masked(losses.shapes.at_least_f32(along), rows["valid"])

  return join_rows(jax.lax.map(body, microbatches(batch, microbatch)), batch)


def jacobian_tvp(
  fn: ModelFn,
  params: Params,
  batch: RoleBatch,
  cotangent: Array,
  view: View | None = None,
  *,
  microbatch: int | None = None,
) -> ArrayTree:
  """J^T u = sum over valid rows of J_i^T u_i, the transpose of `jacobian_vp`.

  Args:
    fn: the model.
    params: where the Jacobian is taken.
    batch: a role batch of B rows; only inputs and `valid` are read.
    cotangent: u, f[B, ...] of the shape of the outputs.
    view: refs, state and rng; none of them by default.
    microbatch: rows at a time; all by default.

  Returns:
    a tree like `params`, float32 or wider.

  Raises:
    ValueError: a cotangent of another shape than the outputs.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> batch = {"inputs": {"x": jnp.array([[2.0], [3.0]])}, "valid": jnp.array([True, True])}
    >>> jacobian_tvp(fn, jnp.zeros((1, 1)), batch, jnp.array([[1.0], [10.0]])).tolist()
    [[32.0]]
  """
  view = _view(view)
  shape = jax.eval_shape(_outputs(fn, batch, view), params).shape
  if jnp.shape(cotangent) != shape:
    raise ValueError(f"cotangent must have the shape of the outputs {shape}, got {jnp.shape(cotangent)}")
  read = {"inputs": batch["inputs"], "valid": batch["valid"], "cotangent": cotangent}

  def body(total, rows):
    outputs, pull = jax.vjp(_outputs(fn, rows, view), params)
    found = pull(_masked(rows["cotangent"], rows["valid"]).astype(outputs.dtype))[0]
    return jax.tree.map(lambda t, x: t + x.astype(t.dtype), total, found), None

  return jax.lax.scan(body, zeros_f32(params), microbatches(read, microbatch))[0]


def _view(view: View | None) -> View:
  return View(jnp.zeros((), jnp.int32), jax.random.key(0), {}, {}, ()) if view is None else view


def _outputs(fn, batch, view):
  return lambda params: forward(fn, params, batch, view, train=False).logits


def _masked(x: Array, valid: Array) -> Array:
  return jnp.where(jnp.asarray(valid, bool).reshape(-1, *[1] * (x.ndim - 1)), x, 0)
