"""The catalog as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from unlearnjax.catalog.row import Row, status
from unlearnjax.report.text import aligned

_HEADER = ("no", "paper", "author", "year", "group", "status", "factory", "parts", "source")
_SHORT = 7  # columns that fit a terminal; the others are in Markdown, JSON and `describe`
_RIGHT = ("no", "year")


def count_line(rows: Sequence[Row], what: str = "papers") -> str:
  """How many rows there are, and how many of them work.

  Example:
    >>> count_line([Row(1, "x", "X", "", None, "language", ("losses",))])
    '1 paper: 0 work, 1 planned'
  """
  works = sum(status(row) == "works" for row in rows)
  noun = what if len(rows) != 1 else what.removesuffix("s")
  return f"{len(rows)} {noun}: {works} work, {len(rows) - works} planned"


def table(rows: Sequence[Row], what: str = "papers") -> str:
  """An aligned table, one line a row, and a line that counts."""
  body = [_cells(row)[:_SHORT] for row in rows]
  return f"{aligned(_HEADER[:_SHORT], body, right=_RIGHT)}\n\n{count_line(rows, what)}"


def markdown(rows: Sequence[Row], what: str = "papers") -> str:
  """A Markdown table with every column, and a line that counts."""
  rule = ["---:" if name in _RIGHT else "---" for name in _HEADER]
  body = [[cell.replace("|", "\\|") for cell in _cells(row)] for row in rows]
  lines = ["| " + " | ".join(cells) + " |" for cells in (_HEADER, rule, *body)]
  return "\n".join([*lines, "", count_line(rows, what)])


def to_json(rows: Iterable[Row]) -> str:
  """A JSON list with every field of the rows and their status.

  Example:
    >>> json.loads(to_json([Row(1, "x", "X", "", None, "language", ("losses",))]))[0]["status"]
    'planned'
  """
  return json.dumps([row._asdict() | {"status": status(row)} for row in rows], indent=2, ensure_ascii=False)


def describe(row: Row) -> str:
  """Everything about one row, one line a field.

  Example:
    >>> print(describe(Row(22, "NPO", "Negative Preference Optimization", "Zhang", 2024, "language", ("losses",))))
    22. NPO
    title       Negative Preference Optimization
    author      Zhang
    year        2024
    group       language
    parts       losses
    status      planned
    source      verified
    arxiv       not recorded
    factory     none yet
    experiment  none yet
  """
  fields = {
    "title": row.title,
    "author": row.author or "folklore",
    "year": row.year or "not recorded",
    "group": row.group,
    "parts": ", ".join(row.parts),
    "status": status(row),
    "source": row.source,
    "arxiv": row.arxiv or "not recorded",
    "factory": ", ".join(_full_name(name) for name in row.factories) or "none yet",
    "experiment": row.experiment or "none yet",
  }
  head = f"{row.number}. {row.name}" if row.number is not None else row.name
  return "\n".join([head, *(f"{key:<11} {value}" for key, value in fields.items())])


def _full_name(factory: str) -> str:
  return f"unlearnjax.{factory if '.' in factory else 'methods.' + factory}"


def _cells(row: Row) -> tuple[str, ...]:
  title = row.title if row.name in row.title else f"{row.name}: {row.title}"
  number, year = ("" if value is None else str(value) for value in (row.number, row.year))
  factories, parts = ", ".join(row.factories), ", ".join(row.parts)
  return number, title, row.author, year, row.group, status(row), factories, parts, row.source
