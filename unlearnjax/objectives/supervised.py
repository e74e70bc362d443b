"""Objectives with targets: true ones, random ones, and none but the model's own uncertainty."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, ModelFn, Objective
from unlearnjax.objectives.bind import accuracy, column, forward, mean, with_state


def supervised(
  fn: ModelFn, loss: Callable[[Array, Array], Array], *, target: str = "y", train: bool = True
) -> Objective:
  """Mean over valid rows of `loss(outputs, targets) -> f[B]`: regression, multi-label, any per-example loss.

  Args:
    fn: the model.
    loss: e.g. `losses.absolute_error`, `losses.binary_cross_entropy`.
    target: column that holds the targets.
    train: runs the model for training (dropout, batch statistics) and reports its new state.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(params["w"] * inputs["x"])
    >>> batch = {"inputs": {"x": jnp.ones((2, 1))}, "y": jnp.array([0.0, 5.0]), "valid": jnp.array([True, True])}
    >>> view = View(0, jax.random.key(0), {}, {}, ())
    >>> float(supervised(fn, losses.absolute_error)({"w": jnp.array(3.0)}, batch, view)[0])
    2.5
  """

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    value, aux = mean(loss(out.logits, column(batch, target)), batch)
    return value, with_state(aux, out, view, train)

  return objective


def cross_entropy(fn: ModelFn, *, train: bool = True, temperature: float = 1.0, target: str = "y") -> Objective:
  """Mean cross entropy over valid rows, in nats; reports `accuracy` in [0, 1].

  Args:
    fn: a classifier.
    train: runs the model for training (dropout, batch statistics) and reports its new state.
    temperature: divides the logits; > 0. DUCK's retain term uses 2.
    target: column of int labels.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params["w"])
    >>> batch = {"inputs": {"x": jnp.eye(2)}, "y": jnp.array([0, 1]), "valid": jnp.array([True, True])}
    >>> value, aux = cross_entropy(fn)({"w": jnp.eye(2)}, batch, View(0, jax.random.key(0), {}, {}, ()))
    >>> round(float(value), 4), float(aux["accuracy"]), float(aux["weight"])
    (0.3133, 1.0, 2.0)
  """
  check.positive("temperature", temperature)

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    labels = column(batch, target)
    value, aux = mean(losses.cross_entropy(out.logits, labels, temperature), batch)
    return value, with_state({**aux, "accuracy": accuracy(out.logits, labels, batch)}, out, view, train)

  return objective


def random_label(
  fn: ModelFn,
  *,
  exclude_true: bool = False,
  exclude: tuple[int, ...] = (),
  train: bool = True,
  target: str = "y",
  frozen_in: str | None = None,
) -> Objective:
  """Cross entropy to labels drawn uniformly at random, anew at every step.

  SalUn's relabelling (arXiv:2310.12508) draws over all classes; `exclude_true` gives amnesiac unlearning
  (arXiv:2010.10981). The number of classes is the width of the logits.

  Args:
    fn: a classifier.
    exclude_true: never draws the true label.
    exclude: further classes never drawn, e.g. one that is being removed.
    train: runs the model for training.
    target: column of true labels.
    frozen_in: name of a column of labels drawn once, to be used instead of new draws.

  Example:
    >>> from unlearnjax.core.types import Outputs, View
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params["w"])
    >>> batch = {"inputs": {"x": jnp.eye(2)}, "y": jnp.array([0, 1]), "valid": jnp.array([True, True])}
    >>> objective = random_label(fn, exclude_true=True)  # two classes: the label is always the other one
    >>> value, aux = objective({"w": jnp.eye(2)}, batch, View(0, jax.random.key(0), {}, {}, ()))
    >>> round(float(value), 4)
    1.3133
  """
  if frozen_in is not None:
    return cross_entropy(fn, train=train, target=frozen_in)

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    true = column(batch, target)
    labels = random_labels(
      fold_name(view.rng, "labels"), true, out.logits.shape[-1], exclude_true=exclude_true, exclude=exclude
    )
    value, aux = mean(losses.cross_entropy(out.logits, labels), batch)
    return value, with_state({**aux, "accuracy": accuracy(out.logits, true, batch)}, out, view, train)

  return objective


def random_labels(
  key: Array, labels: Array, num_classes: int, *, exclude_true: bool = False, exclude: tuple[int, ...] = ()
) -> Array:
  """Labels drawn uniformly from the classes that are allowed.

  Args:
    key: a typed key.
    labels: int[B] true labels.
    num_classes: C.
    exclude_true: leaves out each row's own label.
    exclude: classes left out for all rows.

  Returns:
    int32[B].

  Raises:
    ValueError: no class left to draw.

  Example:
    >>> random_labels(jax.random.key(0), jnp.array([0, 1]), 3, exclude_true=True, exclude=(2,)).tolist()
    [1, 0]
  """
  allowed = np.setdiff1d(np.arange(num_classes), np.asarray(exclude, int)).astype(np.int32)
  if len(allowed) - exclude_true < 1:
    raise ValueError(f"no class is left to draw: {num_classes} classes, exclude={exclude}, exclude_true={exclude_true}")
  labels = jnp.asarray(labels)
  if not exclude_true:
    return jnp.asarray(allowed)[_draw(key, labels.shape, len(allowed))]
  mine = allowed == labels[:, None]  # draw a rank among the others, then step over the true one
  rank = _draw(key, labels.shape, len(allowed) - mine.any(-1))
  return jnp.asarray(allowed)[rank + (mine.any(-1) & (rank >= jnp.argmax(mine, axis=-1)))]


def _draw(key: Array, shape: tuple[int, ...], count: Array | int) -> Array:
  """Uniform numbers below `count`: half the cost of `randint`, which in a small step is a fifth of the time."""
  return jnp.minimum((jax.random.uniform(key, shape) * count).astype(jnp.int32), count - 1)


def uncertain(
  fn: ModelFn, *, offset: float = 0.05, entropy_weight: float = 0.2, train: bool = True, target: str = "y"
) -> Objective:
  """-log(1 - p_y + offset) - entropy_weight H(p): bounded forgetting towards uncertainty.

  The forget loss of projected-gradient unlearning as one-shot unlearning uses it (arXiv:2407.12069); pair it with
  `updates.project_retain`.

  Args:
    fn: a classifier.
    offset: > 0, bounds the loss.
    entropy_weight: >= 0.
    train: runs the model for training.
    target: column of int labels.
  """
  check.positive("offset", offset)
  check.positive("entropy_weight", entropy_weight, zero=True)

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    labels = column(batch, target)
    values = losses.unlikelihood(out.logits, labels, offset) - entropy_weight * losses.entropy(out.logits)
    value, aux = mean(values, batch)
    return value, with_state({**aux, "accuracy": accuracy(out.logits, labels, batch)}, out, view, train)

  return objective
