"""Boundary unlearning: the nearest wrong class by one signed gradient step, and a shadow class to move into.

Chen et al., CVPR 2023, arXiv:2303.11570.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, Array, ArrayTree, ModelFn, Objective, Params, Refs
from unlearnjax.objectives.bind import accuracy, column, forward, mean, ref, with_state


def fgsm(
  fn: ModelFn,
  params: Params,
  inputs: Mapping[str, Array],
  labels: Array,
  *,
  eps: float = 0.1,
  low: float | None = 0.0,
  high: float | None = 1.0,
  state: ArrayTree = (),
  refs: Refs = EMPTY,
  key: str = "x",
) -> Array:
  """clip(x + eps sign(grad_x CE(f(x), y)), low, high), the model in eval mode and without a gradient.

  Args:
    fn: a classifier.
    params: its weights, e.g. those of the frozen original model.
    inputs: its inputs; `inputs[key]` is f[B, ...] and is perturbed.
    labels: int[B].
    eps: >= 0, in the units of the input.
    low: lower end of the valid range, or None.
    high: upper end of the valid range, or None.
    state: the model's non-parameter variables.
    refs: the model's refs.
    key: which input to perturb.

  Returns:
    f[B, ...].

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> x = fgsm(fn, jnp.eye(2), {"x": jnp.array([[0.9, 0.5]])}, jnp.array([0]), eps=0.25)
    >>> [round(v, 2) for v in x[0].tolist()]
    [0.65, 0.75]
  """
  check.positive("eps", eps, zero=True)
  x = inputs[key]
  gradient = jax.grad(lambda x: _loss(fn, params, {**inputs, key: x}, labels, state, refs).sum())(x)
  moved = x + eps * jnp.sign(gradient)
  return jax.lax.stop_gradient(moved if low is None and high is None else jnp.clip(moved, low, high))


def input_curvature(
  fn: ModelFn,
  params: Params,
  inputs: Mapping[str, Array],
  labels: Array,
  *,
  h: float = 0.9,
  state: ArrayTree = (),
  refs: Refs = EMPTY,
  key: str = "x",
) -> Array:
  """K_i = |grad_x [L(x_i + z_i) - L(x_i)]|, z = h sign(grad_x L) / |sign(grad_x L)|, L the cross entropy.

  The model runs in eval mode; z is held fixed, so the result can be differentiated in the parameters.

  Args:
    fn: a classifier.
    params: weights.
    inputs: model inputs; `inputs[key]` is f[B, ...].
    labels: int[B].
    h: length of the step z, > 0.
    state: the model's non-parameter variables.
    refs: the model's refs.
    key: which input to perturb.

  Returns:
    f[B] >= 0; 0 for a loss that is linear in x.
  """
  check.positive("h", h)
  x = inputs[key]
  slope = jax.grad(lambda x: _loss(fn, params, {**inputs, key: x}, labels, state, refs).sum())
  z = jax.lax.stop_gradient(_rows(jnp.sign(slope(x))))
  z = h * z / jnp.maximum(jnp.linalg.norm(z, axis=-1, keepdims=True), 1e-12)
  bend = _rows(slope(x + z.reshape(x.shape)) - slope(x))
  square = jnp.sum(jnp.square(bend), axis=-1)
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def boundary_shrink(
  fn: ModelFn,
  *,
  eps: float = 0.1,
  low: float | None = 0.0,
  high: float | None = 1.0,
  reference: str = "teacher",
  target: str = "y",
  train: bool = True,
  curvature: float = 0.0,
  h: float = 0.9,
  reweight: bool = False,
) -> Objective:
  """Cross entropy of clean forget inputs to the class that the original model sees after one adversarial step.

  Args:
    fn: a classifier.
    eps: size of the step, in the units of the input.
    low: lower end of the valid input range, or None.
    high: upper end of the valid input range, or None.
    reference: `refs[reference]`, the original model, attacked in eval mode; it never changes.
    target: column of true labels.
    train: runs the updated model for training.
    curvature: weight of `losses.curvature_gap`; .7 in the enhanced variant.
    h: step of the curvature.
    reweight: weighs examples by `losses.margin_weights`, the other enhanced variant.

  Returns:
    an objective that reports `accuracy` (of the true label) and `crossed`, the fraction of rows whose adversarial
    label differs from the true one; rows that do not cross are trained on their own label.
  """
  check.positive("curvature", curvature, zero=True)

  def objective(params, batch, view):
    original, true = ref(view, reference), column(batch, target)
    around = {"state": original.get("state", ()), "refs": view.refs}
    moved = fgsm(fn, original["params"], batch["inputs"], true, eps=eps, low=low, high=high, **around)
    attacked = fn(original["params"], {**batch["inputs"], "x": moved}, train=False, **around).logits
    labels = jax.lax.stop_gradient(jnp.argmax(attacked, axis=-1))
    out = forward(fn, params, batch, view, train=train)
    values = losses.cross_entropy(out.logits, labels)
    if reweight:
      values = values * losses.margin_weights(attacked, labels)
    value, aux = mean(values, batch)
    if curvature:
      before = input_curvature(fn, original["params"], batch["inputs"], true, h=h, **around)
      now = input_curvature(fn, params, batch["inputs"], true, h=h, state=view.model_state, refs=view.refs)
      value = value + curvature * losses.curvature_gap(before, now, batch.get("valid"))
      aux = {}  # a norm over the batch is not a mean: no weight, no microbatches
    aux = {**aux, "accuracy": accuracy(out.logits, true, batch), "crossed": mean((labels != true) * 1.0, batch)[0]}
    return value, with_state(aux, out, view, train)

  return objective


def shadow_class(fn: ModelFn, *, train: bool = True) -> Objective:
  """Cross entropy of forget inputs to the last class, which `edits.widen_head` added and `edits.drop_head_row` removes.

  The training half of Boundary Expanding. Metrics must be taken after the row has been dropped: with it, any network
  seems to have forgotten.
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    last = jnp.full(out.logits.shape[:1], out.logits.shape[-1] - 1, jnp.int32)
    value, aux = mean(losses.cross_entropy(out.logits, last), batch)
    return value, with_state({**aux, "accuracy": accuracy(out.logits, last, batch)}, out, view, train)

  return objective


def _loss(fn, params, inputs, labels, state, refs) -> Array:
  return losses.cross_entropy(fn(params, inputs, state=state, refs=refs, train=False).logits, labels)


def _rows(x: Array) -> Array:
  return x.reshape(x.shape[0], -1)
