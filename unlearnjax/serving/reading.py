"""Receipts for people: `python -m unlearnjax ledger verify|show DIR`."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from unlearnjax import ledger


def path_of(directory: str | os.PathLike) -> pathlib.Path:
  """The ledger of a service's output directory; a file stands for itself.

  Raises:
    FileNotFoundError: there is none.
  """
  path = pathlib.Path(directory)
  path = path / ledger.LEDGER if path.is_dir() else path
  if not path.exists():
    raise FileNotFoundError(f"{path} does not exist: give the output directory of a service")
  return path


def verify_directory(directory: str | os.PathLike, *, head: str | None = None) -> ledger.Report:
  """Checks the receipts of a service and the requests beside them: both chains, and that every receipt answers one
  request.

  Raises:
    FileNotFoundError: there is no ledger.
  """
  path = path_of(directory)
  report = ledger.verify(path, head=head)
  intents = path.parent / ledger.INTENTS
  if path.name != ledger.LEDGER or not intents.exists():
    return report
  asked = ledger.verify(intents)
  problems = [*report.problems, *(f"{ledger.INTENTS}: {problem}" for problem in asked.problems)]
  names = [entry.get("request") for entry in ledger.read(intents)[1:]]
  answered = [entry.get("request") for entry in ledger.read(path)]
  for name in dict.fromkeys(answered):
    if name not in names:
      problems.append(f"the receipt of {name!r} answers no request")
    elif answered.count(name) > 1:
      problems.append(f"the request {name!r} has {answered.count(name)} receipts")
  waiting = [name for name in names if name not in answered]
  notes = [*report.notes, *(f"{ledger.INTENTS}: {note}" for note in asked.notes)]
  if waiting:
    notes.append(f"{len(waiting)} accepted but not answered: {', '.join(map(str, waiting[:5]))}")
  return report._replace(problems=tuple(problems), notes=tuple(notes))


def text(report: ledger.Report) -> str:
  """What `verify` found, for people."""
  first = f"{report.entries} receipts, head {report.head}"
  found = [first, *(f"PROBLEM  {p}" for p in report.problems), *(f"note     {n}" for n in report.notes)]
  return "\n".join([*found, "tampered with" if report.problems else "intact"])


def table(entries: list[dict[str, Any]]) -> str:
  """Receipts as lines, for people."""
  from unlearnjax.report import aligned

  head = ("seq", "request", "kind", "outcome", "ids", "guarantee", "gradients", "seconds", "params after")
  rows = []
  for e in entries:
    promise = e.get("guarantee") or {}
    kind = promise.get("kind", "-")
    if promise.get("epsilon") is not None:
      kind += f" ({promise['epsilon']:.3g}, {promise['delta'] or 0:.1g})"
    spent = e.get("cost", {}).get("gradient_evaluations", 0)
    cells = (e.get("seq"), e.get("request"), e.get("kind"), e.get("outcome"), e.get("affected"), kind, spent)
    rows.append([*map(str, cells), f"{e.get('seconds', 0):.2f}", str(e.get("params_after", ""))[:12]])
  return aligned(head, rows, right=("seq", "ids", "gradients", "seconds"))
