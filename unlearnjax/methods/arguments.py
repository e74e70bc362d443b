"""Arguments that several methods take."""

from __future__ import annotations


def clip_range(value_range: tuple[float, float] | None) -> tuple[float | None, float | None]:
  """(low, high) of the valid inputs, or (None, None) where nothing is clipped.

  Raises:
    ValueError: anything but two numbers in ascending order.

  Example:
    >>> clip_range((0, 1)), clip_range(None)
    ((0.0, 1.0), (None, None))
  """
  if value_range is None:
    return None, None
  if len(value_range) != 2 or not value_range[0] < value_range[1]:
    raise ValueError(f"value_range must be (low, high) with low < high, or None; got {value_range}")
  low, high = value_range
  return float(low), float(high)
