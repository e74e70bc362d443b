"""What a benchmark leaves behind: `results.json`, a live table on the console, `report.html` with plots, Markdown.

Nothing here knows a benchmark: a `Spec` of `Column`s says what the numbers are and which way is better.

Example:
  >>> from unlearnjax.report import Column, Spec, choose
  >>> spec = Spec(
  ...   "Forgetting",
  ...   "Which one?",
  ...   (Column("gap", "Gap", "lower", "%"), Column("seconds", "Time", "lower", "s")),
  ...   cost="seconds",
  ... )
  >>> gaps = [{"method": "ssd", "gap": {"mean": 3.0, "ci95": None}, "seconds": {"mean": 1.0, "ci95": None}}]
  >>> choose(gaps, spec).method
  'ssd'
"""

from unlearnjax.info import versions
from unlearnjax.report.compare import Choice, choose, deviations, ranked
from unlearnjax.report.events import tensorboard
from unlearnjax.report.live import LiveTable
from unlearnjax.report.markdown import results_markdown
from unlearnjax.report.page import command_line, figure, html_page, write_report
from unlearnjax.report.plots import figures
from unlearnjax.report.results import Results, git_commit, read_results, summarize, to_json, write_results, write_text
from unlearnjax.report.spec import Column, Spec, direction, interval, number
from unlearnjax.report.text import aligned

__all__ = [
  "Choice",
  "Column",
  "LiveTable",
  "Results",
  "Spec",
  "aligned",
  "choose",
  "command_line",
  "deviations",
  "direction",
  "figure",
  "figures",
  "git_commit",
  "html_page",
  "interval",
  "number",
  "ranked",
  "read_results",
  "results_markdown",
  "summarize",
  "tensorboard",
  "to_json",
  "versions",
  "write_report",
  "write_results",
  "write_text",
]
