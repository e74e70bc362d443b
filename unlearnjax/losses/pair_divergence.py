"""FLAT: an f-divergence between what should be said and what should not. Wang et al. 2024, arXiv:2410.11143."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.losses.tokens import reduce_seq_mean

LN2 = math.log(2)

# (g*, f* after g*) of the variational form of each divergence
DIVERGENCES = {
  "kl": (lambda v: v, lambda v: jnp.exp(v - 1)),
  "reverse_kl": (lambda v: -jnp.exp(v), lambda v: -1 - v),
  "jeffreys": (lambda v: v, lambda v: v + v**2 / 4 + v**3 / 16),
  "hellinger": (lambda v: 1 - jnp.exp(v), lambda v: (1 - jnp.exp(v)) / jnp.exp(v)),
  "pearson": (lambda v: v, lambda v: v**2 / 4 + v),
  "neyman": (lambda v: 1 - jnp.exp(v), lambda v: 2 - 2 * jnp.exp(v / 2)),
  "js": (lambda v: LN2 - jax.nn.softplus(-v), lambda v: v + jax.nn.softplus(-v) - LN2),
  "tv": (lambda v: jnp.tanh(v) / 2, lambda v: jnp.tanh(v) / 2),
}


def flat(template_prob: Array, forget_prob: Array, divergence: str = "tv") -> Array:
  """-g*(P_template) + f*(g*(P_forget)): raises a template answer and lowers the one to forget, from forget data only.

  Args:
    template_prob: f[B] in [0, 1], see `mean_probability`, of a refusal to the question.
    forget_prob: f[B] in [0, 1] of the answer to forget.
    divergence: "kl", "reverse_kl", "jeffreys" (a series), "hellinger", "pearson", "neyman", "js" or "tv".

  Returns:
    f[B]; rows are independent (the reference implementation averages probabilities over the batch and over padding
    before it applies g*).

  Raises:
    ValueError: shapes that differ, an unknown divergence.

  Example:
    >>> [round(float(flat(jnp.array([0.7]), jnp.array([0.2]), d)[0]), 5) for d in ("kl", "tv", "js", "pearson")]
    [-0.25067, -0.2035, -0.18497, -0.49]
  """
  check.one_of("divergence", divergence, tuple(DIVERGENCES))
  shapes.batched("template_prob", template_prob, "B")
  shapes.same_shape("template_prob", template_prob, "forget_prob", forget_prob)
  g, f_of_g = DIVERGENCES[divergence]
  return f_of_g(shapes.at_least_f32(forget_prob)) - g(shapes.at_least_f32(template_prob))


def mean_probability(nll: Array, mask: Array) -> Array:
  """Mean over answer tokens of p(token): FLAT's score of an answer, in [0, 1].

  Args:
    nll: f[B, T] of `token_nll`.
    mask: bool[B, T].

  Returns:
    f[B]; 0 for rows without scored tokens.

  Example:
    >>> nll = -jnp.log(jnp.array([[0.5, 0.25]]))
    >>> round(float(mean_probability(nll, jnp.array([[True, True]]))[0]), 4)
    0.375
  """
  return reduce_seq_mean(jnp.exp(-shapes.at_least_f32(nll)), mask)
