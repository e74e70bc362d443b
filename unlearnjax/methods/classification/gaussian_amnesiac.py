"""Gaussian amnesiac unlearning of a regressor. Tarun et al., ICML 2023, arXiv:2210.08196 (paper 28)."""

from __future__ import annotations

import jax
import numpy as np
import optax

from unlearnjax import data, losses, objectives
from unlearnjax.core import (
  Method,
  ModelFn,
  Verbs,
  as_examples,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.methods.parts import restart


def gaussian_amnesiac(
  *, tx: optax.GradientTransformation | None = None, epochs: int = 1, batch_size: int = 256
) -> Method:
  """Gives every example to forget a target drawn from the distribution of all targets, and trains on the union.

  y' ~ N(mean(y_D), std(y_D)^2) for F, once; y' = y for R; min_theta mean |f(x) - y'| over R and F shuffled together.
  The moments are those of all targets, the forgotten ones included. Models with batch statistics train in train mode.

  Args:
    tx: optimizer; Adam 1e-3 by default.
    epochs: passes over the union.
    batch_size: rows of a step.

  Raises:
    ValueError: a request without a retain set, whose sets are not selections of one table, or targets that do not vary.

  Example:
    >>> gaussian_amnesiac(epochs=2).name
    'gaussian_amnesiac'
  """
  tx = optax.adam(1e-3) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"train": objectives.supervised(fn, losses.absolute_error)}, tx, state_from="train")

    def forget(state, refs, request, run):
      gone = as_examples(request.forget)
      union = gone + as_examples(need_retain("gaussian_amnesiac", request))
      y = union.column("y").astype(np.float32)
      drawn = data.gaussian_relabel(
        jax.random.fold_in(state.rng, 1), y, float(y.mean(dtype=np.float64)), float(y.std(dtype=np.float64))
      )
      marked = np.isin(union.ids, gone.ids).reshape(-1, *[1] * (y.ndim - 1))
      plan = zip_roles(train=union.replace(y=np.where(marked, drawn, y)), batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("gaussian_amnesiac", bind)
