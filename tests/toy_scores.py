"""What a toy model says about examples, as numbers."""

from __future__ import annotations

import jax
import numpy as np

from unlearnjax.core import Examples, Model, outputs


def confidence(model: Model, source: Examples) -> np.ndarray:
  """Probability of the true class, f[n]."""
  probs = np.asarray(jax.nn.softmax(outputs(model, source)["logits"]))
  return probs[np.arange(len(source)), source.column("y")]


def mean_loss(model: Model, source: Examples) -> float:
  """Mean cross entropy in nats."""
  return float(-np.log(confidence(model, source)).mean())
