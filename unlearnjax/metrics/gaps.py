"""Distances of scores to those of the retrained model: plain arithmetic on numbers or arrays of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unlearnjax.core import check
from unlearnjax.metrics import inputs

Scores = Mapping[str, Any] | Sequence[Any]


def tow(accuracies: Scores, reference: Scores):
  """ToW, "tug of war": the product over sets of 1 - |accuracy - accuracy of retraining|, in [0, 1]; 1 is ideal.

  Source: Zhao et al. 2024, arXiv:2406.01257.

  Args:
    accuracies: fractions in [0, 1] on the forget, retain and test sets; a mapping by set or a sequence in one order.
    reference: those of the retrained model, in the same form.

  Raises:
    ValueError: sets that differ, no set, or values outside [0, 1] such as percentages.

  Example:
    >>> round(tow([0.95, 0.98, 0.90], [0.90, 1.00, 0.93]), 5)
    0.90307
  """
  product = 1.0
  for name, value, target in _pairs(accuracies, reference):
    inputs.unit_interval(f"accuracies[{name!r}]", value)
    inputs.unit_interval(f"reference[{name!r}]", target)
    product = product * (1 - abs(value - target))
  return product


def tow_mia(scores: Mapping[str, Any], reference: Mapping[str, Any]):
  """ToW-MIA: `tow` with the success of a membership attack in the place of the forget accuracy, in [0, 1]; 1 is ideal.

  Source: Zhao et al. 2024, arXiv:2406.01257.

  Args:
    scores: fractions in [0, 1] under the keys "mia", "retain" and "test".
    reference: those of the retrained model.

  Raises:
    ValueError: other keys, or values outside [0, 1].

  Example:
    >>> round(tow_mia({"mia": 0.6, "retain": 0.98, "test": 0.9}, {"mia": 0.65, "retain": 1.0, "test": 0.93}), 5)
    0.90307
  """
  for name, given in (("scores", scores), ("reference", reference)):
    if set(given) != {"mia", "retain", "test"}:
      raise ValueError(f"{name} must have the keys mia, retain and test, got {sorted(given)}")
  return tow(scores, reference)


def average_gap(scores: Scores, reference: Scores):
  """Mean over scores of |score - score of retraining|, in the unit of the scores (percentage points); 0 is ideal.

  The scores of the source are UA, RA, TA and MIA-efficacy. Source: Fan et al. 2024 (SalUn), arXiv:2310.12508.

  Args:
    scores: a mapping by name or a sequence in one order.
    reference: those of the retrained model, in the same form.

  Raises:
    ValueError: names or lengths that differ, or no score.

  Example:
    >>> average_gap({"UA": 6.0, "RA": 99.0}, {"UA": 5.0, "RA": 100.0})
    1.0
  """
  gaps = [abs(value - target) for _, value, target in _pairs(scores, reference)]
  return sum(gaps) / len(gaps)


def aus(original_test, retain_test, forget, *, setting: str = "class"):
  """AUS, adaptive unlearning score, above 0; 1 is ideal, and more than 1 means that test accuracy rose.

  class:  (1 - (original_test - retain_test)) / (1 + forget)
  random: (1 - (original_test - retain_test)) / (1 + |forget - retain_test|)
  Source: Cotogni et al. 2023 (DUCK), arXiv:2312.02052.

  Args:
    original_test: test accuracy of the original model, a fraction in [0, 1].
    retain_test: test accuracy of the unlearned model, on the remaining classes if a class was forgotten.
    forget: accuracy of the unlearned model on the forget set.
    setting: "class" (the forgotten class should be at 0) or "random" (the forget set should be like the test set).

  Raises:
    ValueError: an unknown setting, or values outside [0, 1] such as percentages.

  Example:
    >>> round(aus(0.9, 0.88, 0.0), 5), round(aus(0.9, 0.88, 0.95, setting="random"), 5)
    (0.98, 0.91589)
  """
  check.one_of("setting", setting, ("class", "random"))
  for name, value in (("original_test", original_test), ("retain_test", retain_test), ("forget", forget)):
    inputs.unit_interval(name, value)
  excess = forget if setting == "class" else abs(forget - retain_test)
  return (1 - (original_test - retain_test)) / (1 + excess)


def _pairs(scores: Scores, reference: Scores) -> list[tuple[Any, Any, Any]]:
  """(name, score, reference) of every score."""
  if isinstance(scores, Mapping) != isinstance(reference, Mapping):
    raise ValueError("scores and reference must both be mappings or both be sequences")
  for name, given in (("scores", scores), ("reference", reference)):
    if not hasattr(given, "__len__") or not isinstance(given, Mapping) and np.ndim(given) == 0:
      raise ValueError(f"{name} must be a mapping by name or a sequence of scores, got {given!r}")
  if len(scores) == 0:
    raise ValueError("no score was given")
  if isinstance(scores, Mapping):
    if set(scores) != set(reference):
      raise ValueError(f"scores and reference must have the same names, got {sorted(scores)} and {sorted(reference)}")
    return [(name, scores[name], reference[name]) for name in scores]
  if len(scores) != len(reference):
    raise ValueError(f"scores and reference must have the same length, got {len(scores)} and {len(reference)}")
  return [(i, scores[i], reference[i]) for i in range(len(scores))]
