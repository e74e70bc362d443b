"""Two objectives on one shuffled batch whose rows are marked."""

from __future__ import annotations

import jax.numpy as jnp

from unlearnjax.core.types import Objective
from unlearnjax.objectives.bind import column


def marked(chosen: Objective, others: Objective, *, mark: str = "forget") -> Objective:
  """c mean over marked rows of one objective + (1 - c) mean over the others of another, c the marked share.

  What papers write as u_i l_1(x_i) + (1 - u_i) l_2(x_i), averaged over a shuffled batch of forget and retain rows in
  whatever proportion it holds them. The forward passes use one key and are shared by the compiler.

  Args:
    chosen: a mean over valid rows that reports `aux["weight"]`, for rows with the mark.
    others: the same, for rows without. Its model state is kept: both saw the whole batch.
    mark: column, bool or 0/1, [B].

  Raises:
    ValueError: at trace time, an objective without `aux["weight"]`, or a missing column.

  Example:
    >>> from unlearnjax.objectives.bind import mean
    >>> one = lambda params, batch, view: mean(batch["y"], batch)
    >>> two = lambda params, batch, view: mean(10 * batch["y"], batch)
    >>> batch = {"y": jnp.array([1.0, 2.0, 3.0]), "forget": jnp.array([1, 0, 0]), "valid": jnp.ones(3, bool)}
    >>> value, aux = marked(one, two)({}, batch, None)
    >>> round(float(value), 4), float(aux["weight"])
    (17.0, 3.0)
  """

  def objective(params, batch, view):
    flag = jnp.asarray(column(batch, mark), bool)
    valid = jnp.asarray(batch.get("valid", jnp.ones(flag.shape, bool)), bool)
    first, a = chosen(params, {**batch, "valid": valid & flag}, view)
    second, b = others(params, {**batch, "valid": valid & ~flag}, view)
    if "weight" not in a or "weight" not in b:
      raise ValueError("marked needs objectives that report aux['weight'], the denominator of their means")
    weight = a["weight"] + b["weight"]
    value = (a["weight"] * first + b["weight"] * second) / jnp.maximum(weight, 1)
    return value, {**a, **b, "weight": weight}

  return objective
