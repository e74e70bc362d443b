"""From rows to `results.json`, the report and the live table."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from experiments.classify.configs import Config
from experiments.classify.rows import read_row
from unlearnjax import report
from unlearnjax.report import Column, Spec

BUDGET = 15.0  # percent of retraining: what a method may cost to be recommended

_PERCENT = {  # name: label, better, definition
  "gap": ("gap", "lower", "Mean absolute difference to the retrained model over UA, RA, TA and MIA, in points."),
  "UA": ("UA", "reference", "Unlearning accuracy: share of the forget set that is misclassified."),
  "RA": ("RA", "reference", "Accuracy on the retain set."),
  "TA": ("TA", "reference", "Test accuracy; on the remaining classes where a class is forgotten."),
  "MIA": ("MIA", "reference", "Share of the forget set that an SVC on confidences takes for never trained on."),
  "MIA_loss": (
    "loss MIA",
    "reference",
    "Accuracy of telling forgotten from held-out examples by their loss; 50: chance.",
  ),
  "ToW": ("ToW", "higher", "Tug of war: product of 1 - |accuracy gap to retraining| over forget, retain and test."),
  "AUS": ("AUS", "higher", "Adaptive unlearning score: test accuracy kept against forget accuracy left."),
  "ZRF": ("ZRF", "reference", "Zero retrain forgetting: likeness to a random model on the forget set."),
  "cost_percent": ("cost", "lower", "Gradient evaluations in percent of those of retraining."),
}
COLUMNS = (
  *(Column(name, label, better, "%", text) for name, (label, better, text) in _PERCENT.items()),
  Column("activation_distance", "distance", "lower", "", "Mean distance of forget-set probabilities to retraining's."),
  Column("seconds", "seconds", "lower", "s", "Wall time without compilation; statistics and searches included."),
  Column("gradient_evaluations", "gradients", "lower", "count", "Examples that went through a backward pass."),
)


def spec(config: Config, title: str | None = None) -> Spec:
  """What the report of a configuration is about, under a title of its own if there is one."""
  what = config.forget.replace(":", " ")
  return Spec(
    title=title or f"Forgetting {what} of {config.dataset}",
    question=(
      f"A {config.model} was trained on {config.dataset}; {what} must be forgotten. Which method comes closest to a "
      "model that was retrained without it, and what does it cost?"
    ),
    columns=COLUMNS,
    score="gap",
    cost="cost_percent",
    budget=BUDGET,
    versus_cost=("gap", "ToW"),
  )


def finished_rows(out: pathlib.Path, order: list[str]) -> list[dict[str, Any]]:
  """Every row in the directory: those of this run in its order, then those of earlier runs."""
  found = (read_row(path) for path in sorted((out / "rows").glob("*.json")))
  rows = [row for row in found if row is not None]
  place = {name: i for i, name in enumerate(order)}
  return sorted(rows, key=lambda r: (place.get(r["method"], len(place)), r["method"], r["seed"]))


def write(out: pathlib.Path, config: Config, order: list[str], *, page: bool, title: str | None = None) -> None:
  """Writes `results.json` from the rows that stand, and with `page` the plots and `report.html`."""
  rows = finished_rows(out, order)
  plain = [{k: v for k, v in row.items() if k != "confidences"} for row in rows]
  first = {row["method"]: row["confidences"] for row in reversed(rows) if "confidences" in row}
  save(out, "classify", config.describe(), plain, spec(config, title), first if page else None)


def save(
  out: pathlib.Path,
  bench: str,
  described: dict[str, Any],
  rows: list[dict[str, Any]],
  about: Spec,
  histograms: dict[str, Any] | None,
  *,
  module: str | None = None,
  sections: Mapping[str, str] | None = None,
) -> None:
  """Writes `results.json` and, unless `histograms` is None, the plots and `report.html`.

  `sections` are further parts of the page. A file that holds the same rows is left alone: it says which command and
  which revision made them.
  """
  results = _standing(out / "results.json")
  if results is None or (results.rows, results.spec) != (rows, about):
    command = report.command_line(sys.argv[1:], module or f"experiments.{bench}.run")
    results = report.write_results(out / "results.json", bench, described, rows, spec=about, command=command)
  if histograms is not None:
    order = dict.fromkeys(row["method"] for row in rows)
    shown = {name: histograms[name] for name in order if name in histograms}
    report.write_report(out, results, shown, sections or {})


def _standing(path: pathlib.Path) -> report.Results | None:
  try:
    return report.read_results(path)
  except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged
    return None


def live_table(methods: list[str]) -> report.LiveTable:
  """The table on the console, narrow enough for a terminal."""
  shown = ("gap", "UA", "RA", "TA", "MIA", "ToW", "seconds", "cost_percent")
  return report.LiveTable([c for name in shown for c in COLUMNS if c.name == name], methods)
