"""What membership attacks read from predictions: float64 features on the host."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unlearnjax.core import check
from unlearnjax.metrics import inputs
from unlearnjax.metrics.entropy import modified_entropy_in

KINDS = ("correctness", "confidence", "entropy", "m_entropy", "prob")


class Predicted(NamedTuple):
  """Class probabilities f64[N, C] and true labels int[N] of one set, checked by `predicted`."""

  probs: np.ndarray
  labels: np.ndarray

  def take(self, rows) -> Predicted:
    """The chosen rows (indices or a slice)."""
    return Predicted(self.probs[rows], self.labels[rows])

  def __len__(self) -> int:
    return len(self.labels)


def predicted(name: str, probs, labels) -> Predicted:
  """Checks and brings one set to the host; `name` is the prefix of the two arguments in error messages."""
  inputs.class_labels(f"{name}_labels", labels, f"{name}_probs", probs)
  inputs.probabilities(f"{name}_probs", probs)
  return Predicted(np.asarray(probs).astype(np.float64), np.asarray(labels))


def same_classes(**sets: Predicted) -> None:
  """All sets must have the same number of classes."""
  widths = {name: s.probs.shape[1] for name, s in sets.items()}
  if len(set(widths.values())) > 1:
    got = ", ".join(f"{name}_probs {width}" for name, width in widths.items())
    raise ValueError(f"all sets must have the same number of classes, got {got}")


def feature(kind: str, rows: Predicted, *, compat: str | None = None) -> np.ndarray:
  """One of `KINDS` for every row, f64[N, d]: d = C for "prob", else 1."""
  check.one_of("kind", kind, KINDS)
  probs, labels = rows
  if kind == "prob":
    return probs
  if kind == "correctness":
    values = probs.argmax(-1) == labels
  elif kind == "confidence":
    values = probs[np.arange(len(labels)), labels]
  elif kind == "entropy":
    values = -np.sum(probs * np.log(np.where(probs > 0, probs, 1.0)), axis=-1)
  else:
    values = modified_entropy_in(np, probs, labels, compat=compat)
  return values.astype(np.float64)[:, None]
