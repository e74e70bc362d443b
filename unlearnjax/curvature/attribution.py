"""Where in an input, or in a layer, a prediction comes from."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import EMPTY, Array, Model


def integrated_gradients(
  f: Callable[[Array], Array], x: Array, baseline: Array, *, steps: int = 32
) -> tuple[Array, Array]:
  """(x - x0) times the mean gradient of f on the straight line from the baseline x0 to x.

  The mean is taken over `steps` equally spaced points with both ends, ends at full weight (Sundararajan et al.,
  arXiv:1703.01365, in the discretisation of concept-poisoning unlearning).

  Args:
    f: array like x -> f[].
    x: input or embedding.
    baseline: same shape.
    steps: points on the line, >= 2.

  Returns:
    (attributions of the shape of x, completeness error f[]: sum of attributions minus (f(x) - f(x0)), which falls as
    steps grow and is 0 for a linear f).

  Example:
    >>> scores, error = integrated_gradients(lambda x: jnp.dot(jnp.array([2.0, 3.0]), x), jnp.ones(2), jnp.zeros(2))
    >>> [round(s, 4) for s in scores.tolist()], abs(round(float(error), 4))
    ([2.0, 3.0], 0.0)
  """
  check.positive("steps - 1", steps - 1)
  if jnp.shape(x) != jnp.shape(baseline):
    raise ValueError(f"baseline must have the shape of x {jnp.shape(x)}, got {jnp.shape(baseline)}")
  slope = lambda alpha: jax.grad(f)(baseline + alpha * (x - baseline))
  scores = (x - baseline) * jnp.mean(jax.lax.map(slope, jnp.linspace(0.0, 1.0, steps)), axis=0)
  return scores, jnp.sum(scores) - (f(x) - f(baseline))


def grad_cam(model: Model, inputs, classes: Array, site: str) -> Array:
  """Grad-CAM: ReLU of the channels' weighted sum, weights = spatial means of the target logit's gradient.

  Selvaraju et al., arXiv:1610.02391. Scaled to a maximum of 1 an image where anything is positive.

  Args:
    model: a classifier; runs in eval mode.
    inputs: its inputs, B examples.
    classes: int[B], the logit that is explained.
    site: activation f[B, H, W, channels].

  Returns:
    f[B, H, W] in [0, 1].
  """
  run = lambda inject: model(inputs, train=False, capture=(site,), inject=inject)
  activation = run(EMPTY).hidden[site]
  if activation.ndim != 4:
    raise ValueError(f"the activation at {site!r} must be [B, H, W, channels], got shape {activation.shape}")

  def score(shift):
    logits = run({site: lambda h: h + shift}).logits
    return jnp.sum(jnp.take_along_axis(logits, jnp.asarray(classes)[:, None], axis=-1))

  weights = jnp.mean(jax.grad(score)(jnp.zeros_like(activation)), axis=(1, 2))
  heat = jax.nn.relu(jnp.einsum("bhwc,bc->bhw", activation, weights))
  top = jnp.max(heat, axis=(1, 2), keepdims=True)
  return heat / jnp.where(top > 0, top, 1)
