"""Entropies of predictions that membership attacks read."""

from __future__ import annotations

from types import ModuleType

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs

_TINY = 1e-30  # under the logarithms, as in the source


def membership_entropy(probs: Array) -> Array:
  """-sum_c p_c log p_c of each row, in nats, in [0, log C]; low for members of the training set.

  Args:
    probs: f[..., C], rows that sum to 1.

  Returns:
    f[...].

  Raises:
    ValueError: no row, or rows that are not probabilities.

  Example:
    >>> [round(x, 4) for x in membership_entropy(jnp.array([[0.5, 0.5], [1.0, 0.0]])).tolist()]
    [0.6931, 0.0]
  """
  inputs.probabilities("probs", probs)
  return jnp.sum(jax.scipy.special.entr(shapes.at_least_f32(probs)), axis=-1)


def modified_entropy(probs: Array, labels: Array, *, compat: str | None = None) -> Array:
  """-(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c) of each row, >= 0; low for members of the training set.

  Unlike the entropy it knows the label y: 0 for a confident right prediction, large for a confident wrong one.
  Logarithms are floored at log 1e-30. Source: Song & Mittal 2021, arXiv:2003.10595.

  Args:
    probs: f[N, C], rows that sum to 1.
    labels: int[N] in [0, C).
    compat: "salun" is what that reference computes: log p in the place of log(1 - p), and 1 - p in the columns of ALL
      labels of the call, so a row depends on the others.

  Raises:
    ValueError: no row, rows that are not probabilities, labels outside [0, C), an unknown `compat`.

  Example:
    >>> [round(x, 4) for x in modified_entropy(jnp.array([[0.5, 0.5], [0.9, 0.1]]), jnp.array([0, 1])).tolist()]
    [0.6931, 4.1447]
  """
  inputs.class_labels("labels", labels, "probs", probs)
  inputs.probabilities("probs", probs)
  return modified_entropy_in(jnp, shapes.at_least_f32(probs), jnp.asarray(labels), compat=compat)


def modified_entropy_in(xp: ModuleType, probs, labels, *, compat: str | None = None):
  """`modified_entropy` without checks, in `jax.numpy` or, for float64 on the host, in `numpy`."""
  check.one_of("compat", compat, (None, "salun"))
  own = labels[:, None] == xp.arange(probs.shape[-1])
  log = lambda x: xp.log(xp.maximum(x, _TINY))
  if compat == "salun":
    return -xp.sum(xp.where(own.any(0), 1 - probs, probs) * log(probs), axis=-1)
  return -xp.sum(xp.where(own, (1 - probs) * log(probs), probs * log(1 - probs)), axis=-1)
