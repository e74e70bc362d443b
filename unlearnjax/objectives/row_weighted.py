"""A weight for every example."""

from __future__ import annotations

from collections.abc import Callable

from unlearnjax import losses
from unlearnjax.core.types import Array, ModelFn, Objective
from unlearnjax.objectives.bind import column, forward, mean, with_state


def row_weighted(
  fn: ModelFn,
  loss: Callable[[Array, Array], Array] = losses.cross_entropy,
  *,
  weight: str = "weight",
  target: str = "y",
  train: bool = True,
) -> Objective:
  """(1 / B) sum_i w_i loss(outputs_i, targets_i) over the valid rows: weights do not change the denominator.

  Args:
    fn: the model.
    loss: `(outputs, targets) -> f[B]`.
    weight: column of weights, f[B].
    target: column that holds the targets.
    train: runs the model for training (dropout, batch statistics) and reports its new state.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(params["w"] * inputs["x"])
    >>> batch = {"inputs": {"x": jnp.ones((2, 1))}, "y": jnp.zeros(2), "weight": jnp.array([1.0, 0.0])}
    >>> view = View(0, jax.random.key(0), {}, {}, ())
    >>> float(row_weighted(fn, losses.absolute_error)({"w": jnp.array(3.0)}, batch, view)[0])
    1.5
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    values = column(batch, weight) * loss(out.logits, column(batch, target))
    value, aux = mean(values, batch)
    return value, with_state(aux, out, view, train)

  return objective
