"""Aligned text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
  """A plain table: columns as wide as their widest cell, two spaces between them, a rule below the header.

  Args:
    header: the names of the columns.
    rows: cells as text, as many in each row as in the header.
    right: columns that are aligned to the right.

  Raises:
    ValueError: a row of another length.

  Example:
    >>> print(aligned(("method", "UA"), [("salun", "97.1"), ("ssd", "8.0")], right=("UA",)))
    method    UA
    ------  ----
    salun   97.1
    ssd      8.0
  """
  for row in rows:
    if len(row) != len(header):
      raise ValueError(f"a row must have {len(header)} cells, got {len(row)}: {tuple(row)}")
  widths = [max(len(cell) for cell in column) for column in zip(header, *rows)]
  rule = ["-" * width for width in widths]
  return "\n".join(line(cells, widths, [name in right for name in header]) for cells in (header, rule, *rows))


def line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
  """One line of a table; cells that are too long push the rest.

  Example:
    >>> line(("a", "1"), (3, 4), (False, True))
    'a       1'
  """
  return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right)).rstrip()
