"""The scalars of a run, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class History(Mapping[str, np.ndarray]):
  """Scalars by name, f32[steps] or f32[steps, replicas]; NaN where a branch did not run.

  Example:
    >>> history = History()
    >>> history.extend({"loss": np.array([2.0, 1.0])})
    >>> history.mean("loss", last=1), len(history["loss"])
    (1.0, 2)
  """

  def __init__(self, columns: Mapping[str, np.ndarray] | None = None):
    self._parts = {k: [np.asarray(v, np.float32)] for k, v in (columns or {}).items()}

  def extend(self, logs: Mapping[str, np.ndarray]) -> None:
    """Appends the steps of one chunk; what it does not report is NaN there."""
    for name, values in logs.items():
      self._parts.setdefault(name, []).append(np.asarray(values, np.float32))
    count = max((len(values) for values in logs.values()), default=0)
    for name in self._parts.keys() - logs.keys():
      self._parts[name].append(np.full((count, *self[name].shape[1:]), np.nan, np.float32))

  def note(self, values: Mapping[str, float]) -> None:
    """Writes numbers to the last step; a name that is new is NaN at the steps before.

    Example:
      >>> history = History({"loss": [2.0, 1.0]})
      >>> history.note({"utility": 0.5})
      >>> history["utility"].tolist()
      [nan, 0.5]
    """
    steps = self.steps
    for name, value in values.items():
      column = np.full((steps, *np.shape(value)), np.nan, np.float32)
      if name in self:
        column[: len(self[name])] = self[name]
      column[-1] = value
      self._parts[name] = [column]

  def __getitem__(self, name: str) -> np.ndarray:
    parts = self._parts[name]
    if len(parts) > 1:
      self._parts[name] = parts = [np.concatenate(parts)]
    return parts[0]

  def __iter__(self):
    return iter(self._parts)

  def __len__(self) -> int:
    return len(self._parts)

  @property
  def steps(self) -> int:
    return max((len(self[k]) for k in self), default=0)

  def mean(self, name: str, last: int | None = None) -> float:
    """Mean of the last steps (all by default) in which the value was reported."""
    if name not in self:
      raise ValueError(f"the history has no {name!r}; it has {sorted(self)}")
    values = self[name] if last is None else self[name][-last:]
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")

  def to_json(self) -> dict[str, Any]:
    """A JSON value; not-a-number becomes null."""
    return {k: v.tolist() if np.isfinite(v).all() else _plain(v) for k, v in self.items()}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> History:
    return cls({k: np.array(_numbers(v), np.float32) for k, v in value.items()})


def _plain(value):
  if np.ndim(value):
    return [_plain(v) for v in value]
  return float(value) if np.isfinite(value) else str(float(value)) if np.isinf(value) else None


def _numbers(value):
  if isinstance(value, list):
    return [_numbers(v) for v in value]
  return float("nan") if value is None else float(value)
