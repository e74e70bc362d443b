"""Just-in-time Lipschitz forgetting (Foster et al. 2024, arXiv:2402.01401)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.losses.laf import squared_distance_to


def lipschitz_ratio(outputs: Array, noisy_outputs: Array, inputs: Array, noisy_inputs: Array) -> Array:
  """|f(x) - f(x')| / |x - x'|: a local Lipschitz constant, to be minimised on what must be forgotten.

  Args:
    outputs: f[B, C] at the clean inputs.
    noisy_outputs: f[B, C] at the perturbed inputs, under stop_gradient.
    inputs: f[B, ...].
    noisy_inputs: f[B, ...].

  Returns:
    f[B] >= 0; 0 where both inputs agree, as after clipping. The paper sums over the batch and averages over copies.

  Example:
    >>> lipschitz_ratio(jnp.array([[2.0]]), jnp.array([[0.0]]), jnp.array([[1.0]]), jnp.array([[0.5]])).tolist()
    [4.0]
  """
  shapes.batched("outputs", outputs, "B, C")
  change = squared_distance_to(outputs, jax.lax.stop_gradient(noisy_outputs))
  distance = squared_distance_to(inputs, noisy_inputs)
  usable = (change > 0) & (distance > 0)
  return jnp.where(usable, jnp.sqrt(jnp.where(usable, change, 1.0) / jnp.where(usable, distance, 1.0)), 0.0)
