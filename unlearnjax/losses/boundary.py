"""Losses of boundary unlearning (Chen et al., CVPR 2023, arXiv:2303.11570) on logits and curvatures."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def probability_margin(logits: Array, targets: Array) -> Array:
  """Largest probability among the other classes minus that of the target.

  Args:
    logits: f[B, C], C >= 2.
    targets: int[B] in [0, C). A target outside makes the margin NaN rather than a wrong number.

  Returns:
    f[B] in [-1, 1]; negative where the target is predicted.

  Example:
    >>> logits = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
    >>> round(float(probability_margin(logits, jnp.array([0]))[0]), 4)
    -0.5
  """
  shapes.class_labels(logits, targets)
  shapes.two_classes("logits", logits)
  probs, targets = jax.nn.softmax(shapes.at_least_f32(logits), axis=-1), jnp.asarray(targets)
  mine = jnp.arange(probs.shape[-1]) == targets[:, None]
  others = jnp.max(jnp.where(mine, -jnp.inf, probs), axis=-1)
  return shapes.nan_outside(others - jnp.sum(jnp.where(mine, probs, 0.0), axis=-1), targets, probs.shape[-1])


def margin_weights(
  logits: Array, targets: Array, *, slope: float = 5.0, bias: float = -0.5, scale: float = 3.0
) -> Array:
  """scale * sigmoid(slope * (margin + bias)): weights of examples in the enhanced loss, without a gradient.

  Args:
    logits: f[B, C] of the original model at the adversarial inputs.
    targets: int[B], the adversarial labels.
    slope: > 0.
    bias: shifts the margin.
    scale: > 0, the largest weight.

  Returns:
    f[B] in (0, scale).

  Example:
    >>> logits = jnp.zeros((1, 2))
    >>> round(float(margin_weights(logits, jnp.array([0]))[0]), 4)
    0.2276
  """
  check.positive("slope", slope)
  check.positive("scale", scale)
  margin = probability_margin(logits, targets) + bias
  return jax.lax.stop_gradient(scale * jax.nn.sigmoid(slope * margin))


def curvature_gap(reference: Array, current: Array, valid: Array | None = None) -> Array:
  """|K_reference - K|_2 over the batch, divided by its size: how far the loss surface around the inputs has bent.

  K_i = |grad_x [L(x_i + z_i) - L(x_i)]|. The division makes L the mean loss of the batch, as everywhere.

  Args:
    reference: f[B], of the original model; no gradient.
    current: f[B].
    valid: bool[B].

  Returns:
    f[] >= 0, with a zero gradient where both agree.

  Example:
    >>> float(curvature_gap(jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0])))
    2.5
  """
  shapes.batched("reference", reference, "B")
  shapes.same_shape("reference", reference, "current", current)
  gap = shapes.at_least_f32(current) - jax.lax.stop_gradient(shapes.at_least_f32(reference))
  if valid is not None:
    shapes.same_shape("reference", reference, "valid", valid)
  valid = jnp.ones(gap.shape, bool) if valid is None else jnp.asarray(valid, bool)
  square = jnp.sum(jnp.square(jnp.where(valid, gap, 0.0)))
  norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
  return norm / jnp.maximum(valid.sum(), 1)
