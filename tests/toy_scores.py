"""What a toy model says about examples, as numbers."""

from __future__ import annotations

import jax
import numpy as np

from unlearnjax.core import Examples, Model, outputs


def log_likelihood(model: Model, source: Examples) -> np.ndarray:
  """Log-probability of the true class, f[n]."""
  logs = np.asarray(jax.nn.log_softmax(outputs(model, source)["logits"]))
  return logs[np.arange(len(source)), source.column("y")]


def confidence(model: Model, source: Examples) -> float:
  """Mean probability of the true class."""
  return float(np.exp(log_likelihood(model, source)).mean())


def mean_loss(model: Model, source: Examples) -> float:
  """Mean cross entropy in nats."""
  return float(-log_likelihood(model, source).mean())
