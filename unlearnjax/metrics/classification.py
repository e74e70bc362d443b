"""Accuracies on the forget, retain and test sets."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.metrics import inputs


def accuracy(logits_or_probs: Array, labels: Array, valid: Array | None = None) -> Array:
  """Fraction of examples whose largest score is that of their label, in [0, 1]; ties go to the first class.

  Args:
    logits_or_probs: f[N, C].
    labels: int[N] in [0, C).
    valid: bool[N], rows that count; all by default. NaN when no row counts.

  Raises:
    ValueError: no example, shapes other than [N, C] and [N], labels that are not integers in [0, C), scores of NaN.

  Example:
    >>> float(accuracy(jnp.array([[2.0, 1.0], [0.0, 3.0]]), jnp.array([0, 0])))
    0.5
  """
  inputs.class_labels("labels", labels, "logits_or_probs", logits_or_probs)
  inputs.no_nan("logits_or_probs", logits_or_probs)
  correct = jnp.argmax(jnp.asarray(logits_or_probs), axis=-1) == jnp.asarray(labels)
  return inputs.masked_mean(correct.astype(jnp.float32), valid)


def unlearning_accuracy(logits_or_probs: Array, labels: Array, valid: Array | None = None) -> Array:
  """UA: 100 minus the accuracy on the forget set, in percent.

  Ideal: the value of a model retrained without the forget set (near its test error for random examples, 100 for a whole
  class), not the largest. Arguments as in `accuracy`. Source: Jia et al. 2023, arXiv:2304.04934.

  Example:
    >>> float(unlearning_accuracy(jnp.array([[2.0, 1.0], [0.0, 3.0]]), jnp.array([0, 0])))
    50.0
  """
  return 100 * (1 - accuracy(logits_or_probs, labels, valid))


def ua_ra_ta(logits_or_probs: Mapping[str, Array], labels: Mapping[str, Array]) -> dict[str, Array]:
  """UA (100 - accuracy on the forget set), RA (retain accuracy) and TA (test accuracy), in percent.

  For a forgotten class, give the test rows of the remaining classes. Ideal: the values of the retrained model.
  Source: Jia et al. 2023, arXiv:2304.04934.

  Args:
    logits_or_probs: f[n, C] by set, with the keys "forget", "retain" and "test".
    labels: int[n] by set.

  Raises:
    ValueError: a set that is missing, or arrays that `accuracy` refuses.

  Example:
    >>> right, wrong = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
    >>> labels = {name: jnp.array([0]) for name in ("forget", "retain", "test")}
    >>> scores = ua_ra_ta({"forget": wrong, "retain": right, "test": right}, labels)
    >>> {name: float(value) for name, value in scores.items()}
    {'UA': 100.0, 'RA': 100.0, 'TA': 100.0}
  """
  sets = ("forget", "retain", "test")
  for name, given in (("logits_or_probs", logits_or_probs), ("labels", labels)):
    missing = [s for s in sets if s not in given]
    if missing:
      raise ValueError(f"{name} must have the sets {', '.join(sets)}; missing: {', '.join(missing)}")
  forget, retain, test = (accuracy(logits_or_probs[s], labels[s]) for s in sets)
  return {"UA": 100 * (1 - forget), "RA": 100 * retain, "TA": 100 * test}
