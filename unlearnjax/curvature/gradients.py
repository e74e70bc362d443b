"""Gradients over a whole data set, and the saliency read off them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Objective, Statistic
from unlearnjax.curvature.rows import gradient_of, zeros_f32
from unlearnjax.objectives.bind import eval_view


def gradient(objective: Objective, *, reduce: str = "mean") -> Statistic:
  """The gradient of an objective over all data, exact for any batch size.

  Args:
    objective: a mean over rows that reports `aux["weight"]`, built with train=False.
    reduce: "mean" over examples, or "sum".

  Returns:
    a Statistic whose result is a tree like the parameters, float32 or wider.

  Example:
    >>> from unlearnjax.core.types import Model
    >>> from unlearnjax.objectives import mean
    >>> statistic = gradient(lambda params, batch, view: mean(params["w"] * batch["y"], batch))
    >>> model = Model({"w": jnp.ones(())})
    >>> batch = {"y": jnp.array([1.0, 3.0, 7.0]), "valid": jnp.array([True, True, False])}
    >>> acc = statistic.update(statistic.init(model), model, batch, jax.random.key(0))
    >>> float(statistic.finish(acc)["w"])
    2.0
  """
  check.one_of("reduce", reduce, ("mean", "sum"))

  def init(model):
    return {"total": zeros_f32(model.params), "weight": jnp.zeros(())}

  def update(acc, model, batch, rng):
    found, aux = gradient_of(objective, model.params, batch, eval_view(model, rng))
    if "weight" not in aux:
      raise ValueError("gradient needs an objective that reports aux['weight'], the denominator of its mean")
    weight = jnp.asarray(aux["weight"], jnp.float32)
    total = jax.tree.map(lambda t, g: t + weight * g.astype(t.dtype), acc["total"], found)
    return {"total": total, "weight": acc["weight"] + weight}

  def finish(acc):
    scale = jnp.maximum(acc["weight"], 1e-30) if reduce == "mean" else 1.0
    return jax.tree.map(lambda t: t / scale, acc["total"])

  return Statistic(init, update, finish, backward=1)


def saliency(objective: Objective, *, batch_size: int | None = None) -> Statistic:
  """|sum over batches of the batch-mean gradient|, SalUn's score of a weight (arXiv:2310.12508).

  The gradient is summed first and made absolute last; a last batch that is smaller counts as much as any other. The
  sign of the objective does not matter.

  Args:
    objective: the forget loss, built with train=False.
    batch_size: rows of a batch, part of the definition; None leaves it to `fold`.

  Returns:
    a Statistic whose result is a tree like the parameters, >= 0.

  Example:
    >>> from unlearnjax.core.types import Model
    >>> from unlearnjax.objectives import mean
    >>> statistic = saliency(lambda params, batch, view: mean(params["w"] * batch["y"], batch))
    >>> model = Model({"w": jnp.ones(())})
    >>> acc = statistic.init(model)
    >>> for y in (2.0, -5.0):
    ...   acc = statistic.update(acc, model, {"y": jnp.array([y]), "valid": jnp.array([True])}, jax.random.key(0))
    >>> float(statistic.finish(acc)["w"])
    3.0
  """

  def update(acc, model, batch, rng):
    found, _ = gradient_of(objective, model.params, batch, eval_view(model, rng))
    return jax.tree.map(lambda t, g: t + jnp.where(jnp.any(batch["valid"]), g, 0).astype(t.dtype), acc, found)

  finish = lambda acc: jax.tree.map(jnp.abs, acc)
  return Statistic(lambda model: zeros_f32(model.params), update, finish, backward=1, batch_size=batch_size)
