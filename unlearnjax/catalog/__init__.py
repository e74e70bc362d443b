"""The papers that the library covers, as data: what they are made of, what runs them, and what works today.

A row names factories in `unlearnjax.methods`; `status` looks them up, so a paper works exactly when its factory can be
imported, and nobody has to keep a list. `python -m unlearnjax papers` prints the catalog.

Example:
  >>> from unlearnjax import catalog
  >>> len(catalog.PAPERS)
  149
  >>> row = catalog.find("95")
  >>> row.title, row.author, row.year
  ('Saliency Unlearning', 'Fan', 2024)
"""

from __future__ import annotations

from unlearnjax.catalog import (
  amortized_online,
  baselines,
  classification,
  continual_architecture,
  continual_core,
  continual_replay,
  generative,
  language,
  language_evaluation,
)
from unlearnjax.catalog.row import GROUPS, ROOMS, SOURCES, STATUSES, Row, resolve, rows_of, select, status
from unlearnjax.catalog.show import count_line, describe, markdown, table, to_json

_GROUPS = (
  amortized_online,
  classification,
  continual_architecture,
  continual_core,
  continual_replay,
  generative,
  language,
  language_evaluation,
)
PAPERS: tuple[Row, ...] = tuple(sorted((row for group in _GROUPS for row in group.ROWS), key=lambda row: row.number))
"""The papers, by number."""

BASELINES: tuple[Row, ...] = baselines.ROWS
"""What they compare with; these rows have no number."""


def find(key: str) -> Row:
  """The row with a number, a short name or a factory of that spelling; case does not matter.

  Raises:
    ValueError: no row has it.

  Example:
    >>> find("salun").number, find("scrub").author
    (95, 'Kurmanji')
  """
  for row in (*PAPERS, *BASELINES):
    if key == str(row.number) or key.lower() == row.name.lower():
      return row
  for row in (*PAPERS, *BASELINES):
    if key.lower() in row.factories:
      return row
  raise ValueError(f"key must be a number from 1 to {len(PAPERS)}, a short name or a factory, got {key!r}")


__all__ = [
  "BASELINES",
  "GROUPS",
  "PAPERS",
  "ROOMS",
  "SOURCES",
  "STATUSES",
  "Row",
  "count_line",
  "describe",
  "find",
  "markdown",
  "resolve",
  "rows_of",
  "select",
  "status",
  "table",
  "to_json",
]
