"""Which classes are taken for which: interclass confusion and corrective unlearning."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs


def confusion(labels: Array, predictions: Array, classes: int, valid: Array | None = None) -> Array:
  """Confusion counts, int[classes, classes]: the row is the true class, the column the predicted one.

  Args:
    labels: int[N] in [0, classes).
    predictions: int[N] in [0, classes).
    classes: number of classes, static under `jit`.
    valid: bool[N], rows that count; all by default.

  Raises:
    ValueError: classes < 1, no example, labels or predictions outside [0, classes) or of different lengths.

  Example:
    >>> confusion(jnp.array([0, 0, 1]), jnp.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
  """
  check.positive("classes", classes)
  _same_length(labels, predictions)
  inputs.label_range("labels", labels, classes)
  inputs.label_range("predictions", predictions, classes)
  ones = inputs.mask(valid, np.shape(labels)[0]).astype(jnp.int32)
  return jnp.zeros((classes, classes), jnp.int32).at[jnp.asarray(labels), jnp.asarray(predictions)].add(ones)


def interclass_confusion_error(labels: Array, predictions: Array, pair: tuple[int, int]) -> Array:
  """Share of the examples of two classes that are predicted wrongly (IC-ERR), a fraction in [0, 1]; lower is better.

  Labels of some examples were swapped between the two classes before training; a model that forgot the swapped ones
  separates the classes again. Measured with clean labels. NaN when neither class occurs.
  Source: Goel et al. 2022, arXiv:2201.06640; Kurmanji et al. 2023, arXiv:2302.09880.

  Args:
    labels: int[N], clean.
    predictions: int[N].
    pair: the two confused classes.

  Example:
    >>> float(interclass_confusion_error(jnp.array([0, 0, 1, 1, 2]), jnp.array([0, 1, 1, 2, 2]), (0, 1)))
    0.5
  """
  _same_length(labels, predictions)
  first, second = _pair(pair)
  labels, predictions = jnp.asarray(labels), jnp.asarray(predictions)
  inside = (labels == first) | (labels == second)
  return inputs.masked_mean((labels != predictions).astype(jnp.float32), inside)


def forget_count(labels: Array, predictions: Array, pair: tuple[int, int]) -> Array:
  """Examples of one class of the pair that are taken for the other (FGT-ERR), a count; ideal: that of retraining.

  Sources and arguments as in `interclass_confusion_error`.

  Example:
    >>> int(forget_count(jnp.array([0, 0, 1, 1, 2]), jnp.array([0, 1, 0, 2, 2]), (0, 1)))
    2
  """
  _same_length(labels, predictions)
  first, second = _pair(pair)
  labels, predictions = jnp.asarray(labels), jnp.asarray(predictions)
  taken = lambda a, b: jnp.sum((labels == a) & (predictions == b))
  return taken(first, second) + taken(second, first)


def corrected_area(fractions, accuracies) -> float:
  """Mean corrected accuracy over the share of the manipulated set that is known; higher is better.

  The area (trapezoids) under corrected accuracy against the identified fraction, divided by the range of fractions, in
  the unit of `accuracies`. Corrected accuracy is measured with clean labels where the manipulation acts (for example
  test images with the trigger). Source: Goel et al. 2024, arXiv:2402.14015.

  Args:
    fractions: f[K] in (0, 1], increasing, K >= 2.
    accuracies: f[K].

  Raises:
    ValueError: lengths that differ, fewer than two points, fractions that do not increase, accuracies of NaN.

  Example:
    >>> corrected_area([0.1, 0.5, 1.0], [0.2, 0.2, 0.2])
    0.2
  """
  x, y = np.asarray(fractions, np.float64), np.asarray(accuracies, np.float64)
  if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
    raise ValueError(f"fractions and accuracies must be two f[K] with K >= 2, got shapes {x.shape} and {y.shape}")
  inputs.unit_interval("fractions", x)
  inputs.no_nan("accuracies", y)
  if np.any(np.diff(x) <= 0):
    raise ValueError(f"fractions must increase, got {x}")
  return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def _same_length(labels: Array, predictions: Array) -> None:
  if np.ndim(labels) != 1 or np.shape(labels) != np.shape(predictions):
    raise ValueError(
      f"labels and predictions must be two int[N], got shapes {np.shape(labels)} and {np.shape(predictions)}"
    )
  inputs.not_empty("labels", labels)
  shapes.whole_numbers("labels", labels)
  shapes.whole_numbers("predictions", predictions, "; take the argmax of logits first")


def _pair(pair: tuple[int, int]) -> tuple[int, int]:
  if len(pair) != 2 or pair[0] == pair[1]:
    raise ValueError(f"pair must name two different classes, got {pair}")
  return pair
