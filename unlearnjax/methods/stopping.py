"""When to stop early: conditions for `fit(until=...)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unlearnjax.core import ForgetRequest, History, Model, Plan, Run, as_examples, outputs


def forgotten(plan: Plan, below: float | None, *, after: int = 1) -> Callable[[History], bool] | None:
  """True once the accuracy on the forget set, over the latest pass, is under a level.

  It is read from the history, "forget/accuracy", so it costs nothing and is that of the steps themselves.

  Args:
    plan: anchored at the role "forget".
    below: level in [0, 1]; None never stops.
    after: passes that are made in any case.

  Example:
    >>> from unlearnjax.core import Examples, zip_roles
    >>> plan = zip_roles(forget=Examples({"x": np.zeros((4, 1))}), batch_size=2)
    >>> until = forgotten(plan, 0.1)
    >>> until(History({"forget/accuracy": [1.0, 1.0]})), until(History({"forget/accuracy": [1.0, 1.0, 0.1, 0.0]}))
    (False, True)
  """
  if below is None:
    return None
  steps = plan.steps_per_epoch

  def until(history: History) -> bool:
    seen = history["forget/accuracy"]
    return len(seen) >= after * steps and float(np.mean(seen[-steps:])) < below

  return until


def held_out_accuracy(model: Model, request: ForgetRequest, run: Run) -> float | None:
  """Accuracy in [0, 1] on `request.extra["validation"]`, or else "test"; None where the request has neither.

  What single examples should be forgotten to: a model that never saw them is no better on them than on any others.
  """
  for name in ("validation", "test"):
    source: Any = request.extra.get(name)
    if source is not None and len(source):
      source = as_examples(source)
      predicted = outputs(model, source, run, name=name)["logits"].argmax(-1)
      return float(np.mean(predicted == source.column("y")))
  return None
