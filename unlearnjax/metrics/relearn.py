"""How fast forgotten data is learned again: arithmetic on recorded curves."""

from __future__ import annotations

import math

import numpy as np

from unlearnjax.core import check


def steps_to(curve, target: float, *, direction: str = "below", every: int = 1) -> float:
  """Training steps until a recorded curve first reaches a target; infinite if it never does.

  Args:
    curve: f[K], the metric on the forget set; entry i was measured after i * every steps, entry 0 before any.
    target: value to reach: the original model's loss (plus 1e-5, or times 1.05 for regression) or its accuracy minus a
      tolerance.
    direction: "below" for a loss (curve <= target), "above" for an accuracy (curve >= target).
    every: steps between two entries, >= 1.

  Raises:
    ValueError: a curve that is empty or not a vector, an unknown direction, every < 1.

  Example:
    >>> steps_to([2.0, 1.0, 0.4, 0.3], 0.5), steps_to([0.1, 0.9], 0.8, direction="above", every=10)
    (2, 10)
  """
  check.one_of("direction", direction, ("below", "above"))
  check.positive("every", every)
  values = np.asarray(curve, np.float64)
  if values.ndim != 1 or not len(values):
    raise ValueError(f"curve must be f[K] with K >= 1, got shape {values.shape}")
  reached = values <= target if direction == "below" else values >= target
  return int(reached.argmax()) * every if reached.any() else math.inf


def anamnesis_index(steps_unlearned: float, steps_gold: float) -> float:
  """AIN: relearn steps of the unlearned model over those of the retrained one, >= 0.

  1 is ideal; far below 1 the knowledge was only hidden, far above 1 the model resists relearning, which itself tells
  that something was forgotten. Source: Chundawat et al. 2023, arXiv:2201.05629.

  Args:
    steps_unlearned: steps until the unlearned model is back at the original model's performance; may be infinite.
    steps_gold: the same for the retrained model.

  Raises:
    ValueError: negative steps; steps_gold of 0 (retraining did not unlearn anything at this tolerance) or infinite (it
      was not trained long enough to be compared with).

  Example:
    >>> anamnesis_index(10, 40)
    0.25
  """
  check.positive("steps_unlearned", steps_unlearned, zero=True)
  check.positive("steps_gold", steps_gold)
  if math.isinf(steps_gold):
    raise ValueError(
      "steps_gold must be finite, got inf: the retrained model never reached the target; train it longer"
    )
  return steps_unlearned / steps_gold
