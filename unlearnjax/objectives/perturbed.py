"""Objective perturbation: an L2 term and a random linear term that masks what an optimum says about its data."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Objective
from unlearnjax.objectives.bind import ref


def perturbed(objective: Objective, *, l2: float, reference: str = "perturbation") -> Objective:
  """objective + (l2 / 2) |theta|^2 + b^T theta / n, n the valid rows: for batches that hold all the data.

  n times it is the loss sum_i (l_i + (l2 / 2) |theta|^2) + b^T theta of certified removal (Guo et al.,
  arXiv:1911.03030).

  Args:
    objective: a mean over rows that reports `aux["weight"]`, their number.
    l2: >= 0.
    reference: name of b in refs, a tree like the parameters.

  Example:
    >>> from unlearnjax.core.types import View
    >>> from unlearnjax.objectives import mean
    >>> flat = lambda params, batch, view: mean(jnp.zeros(4), batch)
    >>> view = View(0, jax.random.key(0), {"perturbation": jnp.array([8.0])}, {}, ())
    >>> float(perturbed(flat, l2=2.0)(jnp.array([3.0]), {"valid": jnp.ones(4, bool)}, view)[0])
    15.0
  """
  check.positive("l2", l2, zero=True)

  def f(params, batch, view):
    value, aux = objective(params, batch, view)
    dot = lambda a, b: sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))
    return value + l2 / 2 * dot(params, params) + dot(ref(view, reference), params) / aux["weight"], aux

  return f
