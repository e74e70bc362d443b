"""Result tables in Markdown, made from `results.json` alone."""

from __future__ import annotations

import os
from collections.abc import Sequence

from unlearnjax.report.compare import choose, ranked
from unlearnjax.report.results import Results, failures, read_results
from unlearnjax.report.spec import direction, interval


def results_markdown(paths: Sequence[str | os.PathLike], *, level: int = 2) -> str:
  """One section a file: the command, the table, the answer, and where the numbers come from.

  Args:
    paths: files that `write_results` wrote.
    level: of the heads.

  Example:
    >>> import tempfile
    >>> from unlearnjax.report import Column, Spec, write_results
    >>> spec = Spec("Forgetting", "Which one?", (Column("gap", "Gap", "lower", "%"),), cost="gap")
    >>> with tempfile.TemporaryDirectory() as out:
    ...   _ = write_results(f"{out}/results.json", "toy", {}, [{"method": "ssd", "seed": 0, "gap": 2.0}], spec=spec)
    ...   print("\\n".join(results_markdown([f"{out}/results.json"]).splitlines()[:5]))
    ## Forgetting
    <BLANKLINE>
    | method | Gap |
    | --- | ---: |
    | **ssd** | 2.0 |
  """
  return "\n".join(_section(read_results(path), level) for path in paths)


def _section(results: Results, level: int) -> str:
  spec, entries = results.spec, {entry["method"]: entry for entry in results.summary}
  choice = choose(results.summary, spec)
  columns = [column for column in spec.columns if any(column.name in entry for entry in entries.values())]
  head = ["method", *(column.label for column in columns)]
  lines = [f"{'#' * level} {spec.title}", ""]
  if results.command:
    lines += ["```bash", results.command, "```", ""]
  lines += [_line(head), _line(["---", *("---:" for _ in columns)])]
  for method in ranked(results.summary, spec):
    entry = entries[method]
    name = f"**{_plain(method)}**" if method == choice.method else _plain(method)
    if not entry["seeds"]:
      name += " (failed)"
    lines.append(_line([name, *(interval(entry.get(column.name), column.unit) for column in columns)]))
  seeds = f"{results.seeds} seeds, mean ± 95 % interval" if results.seeds > 1 else "one seed"
  ways = [f"{column.label}: {way}" for column in columns if (way := direction(column, spec.reference))]
  lines += ["", f"{choice.answer} {choice.rule}", "", "; ".join([seeds, *ways]) + "."]
  for method, which, error in failures(results):
    lines += ["", f"Failed: {_plain(method)}, {which}: `{_plain(error)}`"]
  made = ", ".join(f"{name} {version}" for name, version in results.versions.items() if version)
  lines += ["", f"Made by {made}" + (f", commit {results.commit[:12]}" if results.commit else "") + ".", ""]
  return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
  return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
  return " ".join(str(text).split()).replace("|", "\\|")
