"""A table on the console that grows while a benchmark runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from unlearnjax.report.results import summarize
from unlearnjax.report.spec import Column, interval
from unlearnjax.report.text import aligned, line


class LiveTable:
  """One line a method, with the mean over the seeds that are done.

  On a terminal the table is drawn again with every row; in a log or a pipe a line is added, so nothing that was
  written is taken back.

  Args:
    columns: what to show, in order.
    methods: the methods that will come; they set the width of the first column.
    stream: where to write, standard output by default.

  Example:
    >>> table = LiveTable(
    ...   [Column("UA", "UA", "reference", "%"), Column("gap", "Gap", "lower", "%")], ["retrain", "ssd"]
    ... )
    >>> table.add({"method": "retrain", "seed": 0, "UA": 99.96, "gap": 0.0})
    method   seeds           UA          Gap
    -------  -----  -----------  -----------
    retrain      1        100.0          0.0
    >>> table.add({"method": "ssd", "seed": 0, "error": "non-finite loss at step 3"})
    ssd          1  failed: non-finite loss at step 3
  """

  def __init__(self, columns: Sequence[Column], methods: Sequence[str] = (), stream: TextIO | None = None):
    self.columns, self.stream = tuple(columns), stream or sys.stdout
    self.rows: list[Mapping[str, Any]] = []
    self._header = ("method", "seeds", *(column.label for column in self.columns))
    widest = {"%": len("100.0 ±10.0"), "s": len("1000.0 ±100.0"), "count": len("1.23M ±1.23k"), "": len("0.123 ±0.123")}
    wide = [max(len(column.label), widest[column.unit]) for column in self.columns]
    self._widths = (max(len(name) for name in ("method", *methods)), len("seeds"), *wide)
    self._drawn = 0
    encoding = getattr(self.stream, "encoding", None) or "utf-8"
    try:
      "±–".encode(encoding)
      self._ascii = False
    except UnicodeEncodeError:
      self._ascii = True

  def add(self, row: Mapping[str, Any]) -> None:
    """Shows one more row of the benchmark."""
    self.rows.append(row)
    text = self.text().splitlines()
    size = shutil.get_terminal_size()
    if self._redraws() and len(text) < size.lines and max(map(len, text)) < size.columns:
      back = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
      self._write(back + "\n".join(text))
      self._drawn = len(text)
      return
    right = [index > 0 for index in range(len(self._header))]
    if len(self.rows) == 1 or self._drawn:
      self._write(line(self._header, self._widths, right))
      self._write(line(["-" * width for width in self._widths], self._widths, right))
      self._drawn = 0
    cells = self._cells(row["method"])
    if row.get("error"):
      self._write(f"{line(cells[:2], self._widths[:2], right)}  failed: {_first_line(row['error'])}")
    else:
      self._write(line(cells, self._widths, right))

  def text(self) -> str:
    """The whole table as it stands."""
    methods = list(dict.fromkeys(row["method"] for row in self.rows))
    body = aligned(self._header, [self._cells(method) for method in methods], right=self._header[1:])
    failed = [f"{row['method']}: {_first_line(row['error'])}" for row in self.rows if row.get("error")]
    return "\n".join([body, *(f"failed  {text}" for text in failed)])

  def _cells(self, method: str) -> list[str]:
    mine = [row for row in self.rows if row["method"] == method]
    entry = summarize(mine, [column.name for column in self.columns])[0]
    return [method, str(len(mine)), *(interval(entry.get(column.name), column.unit) for column in self.columns)]

  def _redraws(self) -> bool:
    return self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"

  def _write(self, text: str) -> None:
    if self._ascii:
      text = text.replace(" ±", "+-").replace("–", "-")
    print(text, file=self.stream, flush=True)


def _first_line(error: Any) -> str:
  return str(error).strip().splitlines()[0] if str(error).strip() else "unknown error"
