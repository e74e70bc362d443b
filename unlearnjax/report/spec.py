"""What a benchmark tells the report about its columns and its question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unlearnjax.core import check

BETTER = ("lower", "higher", "reference", None)
UNITS = ("%", "s", "count", "")


class Column(NamedTuple):
  """One number of a row.

  Attributes:
    name: its key in the rows.
    label: the head of the column.
    better: "lower", "higher", "reference" (the closer to the reference method, the better), or None.
    unit: "%" for percentage points from 0 to 100, "s" for seconds, "count" for large integers, "" otherwise.
    description: one sentence that defines it.
  """

  name: str
  label: str
  better: str | None = None
  unit: str = ""
  description: str = ""


class Spec(NamedTuple):
  """What a report is about.

  Attributes:
    title: the head line.
    question: what a reader wants to know, one or two sentences.
    columns: in the order of the table.
    score: the column that decides which method to use.
    cost: the column that measures what a method costs.
    versus_cost: the columns that are plotted against the cost; the score by default.
    reference: the method that the others are measured against, None where there is none.
    anchors: methods that are shown and never recommended, such as the model before anything was forgotten.
    budget: the largest cost of a recommended method; None for that of the reference.
  """

  title: str
  question: str
  columns: tuple[Column, ...]
  score: str = "gap"
  cost: str = "gradient_evaluations"
  versus_cost: tuple[str, ...] = ()
  reference: str | None = "retrain"
  anchors: tuple[str, ...] = ("original",)
  budget: float | None = None

  def column(self, name: str) -> Column:
    """The column of that name.

    Raises:
      ValueError: there is none.
    """
    check.one_of("column", name, [column.name for column in self.columns])
    return next(column for column in self.columns if column.name == name)


def checked(spec: Spec) -> Spec:
  """The spec itself, when its columns fit together.

  Raises:
    ValueError: a repeated column, an unknown unit or direction, or a score, cost or plot that is not a column.

  Example:
    >>> checked(Spec("t", "q", (Column("gap", "Gap", "lower", "%"),), cost="gap")).score
    'gap'
  """
  names = [column.name for column in spec.columns]
  if len(set(names)) != len(names):
    raise ValueError(f"columns must have different names, got {names}")
  for column in spec.columns:
    check.one_of(f"better of column {column.name!r}", column.better, BETTER)
    check.one_of(f"unit of column {column.name!r}", column.unit, UNITS)
  for field in ("score", "cost"):
    check.one_of(field, getattr(spec, field), names)
  for name in spec.versus_cost:
    check.one_of("versus_cost", name, names)
  if spec.column(spec.score).better not in ("lower", "higher"):
    raise ValueError(f"the score {spec.score!r} must be a column with better='lower' or 'higher'")
  return spec


def spec_from_json(value: Mapping[str, Any]) -> Spec:
  """The inverse of writing a spec into `results.json`.

  Example:
    >>> spec = Spec("t", "q", (Column("gap", "Gap", "lower"),), cost="gap", versus_cost=("gap",))
    >>> spec_from_json(spec_to_json(spec)) == spec
    True
  """
  columns = tuple(Column(**column) for column in value["columns"])
  fixed = {key: tuple(value[key]) for key in ("versus_cost", "anchors")}
  return Spec(**{**value, "columns": columns, **fixed})


def spec_to_json(spec: Spec) -> dict[str, Any]:
  """A JSON value; named tuples would become bare lists."""
  return spec._asdict() | {"columns": [column._asdict() for column in spec.columns]}


def number(value: float | None, unit: str = "") -> str:
  """A number as people read it; a dash where there is none.

  Example:
    >>> [number(97.06, "%"), number(0.93071), number(1234567, "count"), number(83.2, "s"), number(None)]
    ['97.1', '0.931', '1.23M', '83.2', '–']
  """
  if value is None or not math.isfinite(value):
    return "–"
  if unit == "%":
    return f"{value:.1f}"
  if unit == "count":
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
      if abs(value) >= 0.9995 * size:  # rounds to three digits of this size
        return f"{value / size:.3g}{suffix}"
    return f"{value:.0f}"
  if unit == "s":
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"
  return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def interval(value: Mapping[str, float | None] | None, unit: str = "") -> str:
  """`mean ±half-width`, or the mean alone where there is one seed or no spread at all.

  Example:
    >>> interval({"mean": 97.06, "ci95": 0.52}, "%"), interval({"mean": 97.06, "ci95": None}, "%"), interval(None)
    ('97.1 ±0.5', '97.1', '–')
  """
  if value is None:
    return number(None)
  half = half_width(value)
  return number(value["mean"], unit) + (f" ±{number(half, unit)}" if half else "")


def half_width(value: Mapping[str, float | None]) -> float | None:
  """The half-width of an interval, None where one seed gives none.

  Example:
    >>> half_width({"mean": 1.0, "ci95": 0.5}), half_width({"mean": 1.0, "ci95": float("nan")})
    (0.5, None)
  """
  half = value.get("ci95")
  return None if half is None or not math.isfinite(half) else half


def direction(column: Column, reference: str | None) -> str:
  """The direction of a column in words.

  Example:
    >>> direction(Column("UA", "UA", "reference"), "retrain"), direction(Column("n", "n"), "retrain")
    ('closer to retrain is better', '')
  """
  if column.better == "reference":
    return f"closer to {reference} is better" if reference else ""
  return f"{column.better} is better" if column.better else ""


def methods_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """The methods of some rows in order of first appearance.

  Example:
    >>> methods_of([{"method": "b"}, {"method": "a"}, {"method": "b"}])
    ['b', 'a']
  """
  return list(dict.fromkeys(row["method"] for row in rows))
