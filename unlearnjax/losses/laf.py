"""Losses of label-agnostic forgetting: reconstruction by VAEs and alignment to a teacher.

Shen et al., ICLR 2024, arXiv:2404.00506.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def gaussian_kl(mean: Array, log_variance: Array) -> Array:
  """KL(N(mean, diag(exp(log_variance))) || N(0, I)), in nats.

  Args:
    mean: f[B, k].
    log_variance: f[B, k].

  Returns:
    f[B] >= 0; 0 for mean 0 and variance 1.

  Example:
    >>> gaussian_kl(jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2))).tolist()
    [0.5]
  """
  shapes.batched("mean", mean, "B, k")
  shapes.same_shape("mean", mean, "log_variance", log_variance)
  mean, log_variance = shapes.at_least_f32(mean), shapes.at_least_f32(log_variance)
  return 0.5 * jnp.sum(jnp.square(mean) + jnp.expm1(log_variance) - log_variance, axis=-1)


def vae(reconstruction: Array, target: Array, mean: Array, log_variance: Array, kl_weight: float = 0.025) -> Array:
  """|reconstruction - target|^2 (summed over dimensions) + kl_weight KL(q(z | x) || N(0, I)).

  Args:
    reconstruction: f[B, d].
    target: f[B, d].
    mean: f[B, k] of the latent code.
    log_variance: f[B, k] of the latent code.
    kl_weight: >= 0.

  Returns:
    f[B] >= 0.

  Example:
    >>> vae(jnp.ones((1, 4)), jnp.zeros((1, 4)), jnp.zeros((1, 2)), jnp.zeros((1, 2))).tolist()
    [4.0]
  """
  check.positive("kl_weight", kl_weight, zero=True)
  return squared_distance_to(reconstruction, target) + kl_weight * gaussian_kl(mean, log_variance)


def bounded_reconstruction(reconstruction: Array, target: Array) -> Array:
  """exp(m / (m + 1)) with m = |reconstruction - target|^2: a reconstruction error that cannot exceed e.

  Bounded, so that driving forgotten features away from what their VAE models does not diverge.

  Args:
    reconstruction: f[B, d].
    target: f[B, d]. Gradients reach both arguments.

  Returns:
    f[B] in [1, e).

  Example:
    >>> bounded_reconstruction(jnp.zeros((1, 2)), jnp.zeros((1, 2))).tolist()
    [1.0]
  """
  m = squared_distance_to(reconstruction, target)
  return jnp.exp(m / (m + 1.0))


def contrastive_alignment(
  retain_distance: Array, forget_distance: Array, temperature: float = 20.0, forget_valid: Array | None = None
) -> Array:
  """log(exp(c_i) / sum_j exp(c'_j / T)): pulls retained features to the teacher, pushes forgotten ones away.

  Args:
    retain_distance: c, f[R], cosine distances to the teacher's features in [0, 2].
    forget_distance: c', f[F].
    temperature: T > 0; 20 in most settings, 5 for random forgetting on grey images.
    forget_valid: bool[F], rows of the forget batch that count; all by default.

  Returns:
    f[R]; the paper sums it. Equals -log F for a model that still agrees with its teacher, and c where no forget row
    counts.

  Example:
    >>> contrastive_alignment(jnp.zeros(1), jnp.zeros(1)).tolist()
    [0.0]
  """
  shapes.batched("retain_distance", retain_distance, "R")
  shapes.batched("forget_distance", forget_distance, "F")
  check.positive("temperature", temperature)
  scaled = shapes.at_least_f32(forget_distance) / temperature
  if forget_valid is not None:
    shapes.same_shape("forget_distance", forget_distance, "forget_valid", forget_valid)
    kept = jnp.asarray(forget_valid, bool)
    # the first row stands in where none counts, and gives log 1
    scaled = jnp.where(kept.any(), jnp.where(kept, scaled, -jnp.inf), jnp.where(jnp.arange(kept.size) > 0, -jnp.inf, 0))
  return shapes.at_least_f32(retain_distance) - jax.nn.logsumexp(scaled)


def squared_distance_to(a: Array, b: Array) -> Array:
  """Sum of squared differences over all axes but the first: f[B].

  Example:
    >>> squared_distance_to(jnp.ones((1, 3)), jnp.zeros((1, 3))).tolist()
    [3.0]
  """
  shapes.same_shape("a", a, "b", b)
  gap = shapes.at_least_f32(a) - shapes.at_least_f32(b)
  return jnp.sum(jnp.square(gap), axis=tuple(range(1, gap.ndim)))
