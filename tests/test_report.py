"""Results files, summaries, the live table, the choice of a method, plots, page and Markdown."""

from __future__ import annotations

import html.parser
import io
import json
import math
import re

import numpy as np
import pytest

from unlearnjax import report
from unlearnjax.report import Column, LiveTable, Spec

COLUMNS = (
  Column("UA", "UA", "reference", "%", "Error on the forget set."),
  Column("RA", "RA", "reference", "%", "Accuracy on the retain set."),
  Column("gap", "Average gap", "lower", "%", "Mean distance from the reference."),
  Column("tow", "ToW", "higher", "", "Product of accuracies kept."),
  Column("cost", "Gradient evaluations", "lower", "count", "Examples with a backward pass."),
)
SPEC = Spec("Forget <b>a class</b>", "Which one?", COLUMNS, cost="cost", versus_cost=("gap", "RA"))


def row(method, seed, ua, ra, gap, cost, **more):
  return {"method": method, "seed": seed, "UA": ua, "RA": ra, "gap": gap, "tow": 1 - gap / 100, "cost": cost, **more}


def three_seeds():
  """Rows whose numbers are made up so that means and intervals are known."""
  rows = []
  for seed, shift in enumerate((-1.0, 0.0, 1.0)):
    rows += [
      row("retrain", seed, 90 + shift, 99.0, 0.0, 1000),
      row("original", seed, 2.0, 99.5, 40.0, 0),
      row("near", seed, 88 + shift, 98.0, 2.0 + shift, 300),
      row("close", seed, 87 + shift, 98.0, 2.5 + shift, 100),
      row("far", seed, 50 + shift, 80.0, 30.0 + shift, 50),
      row("dear", seed, 90 + shift, 99.0, 0.1, 5000),
      {"method": "broken", "seed": seed, "error": "non-finite <loss> at step 3"},
    ]
  return rows


def write(path, rows=None, spec=SPEC, **more):
  return report.write_results(
    path / "results.json", "bench", {"lr": 0.1}, three_seeds() if rows is None else rows, spec=spec, **more
  )


def test_summary_has_student_intervals_over_seeds():
  near = report.summarize(three_seeds(), ["gap", "missing"])[2]
  assert near["method"] == "near" and near["seeds"] == 3 and "missing" not in near
  assert near["gap"]["mean"] == pytest.approx(2.0)
  assert near["gap"]["ci95"] == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)  # t(0.975, 2) s / sqrt(3), s = 1


def test_summary_leaves_out_failures_and_numbers_that_are_not_finite():
  rows = [
    row("a", 0, 1.0, float("nan"), 3.0, 1),
    row("a", 1, 3.0, None, 5.0, 1),
    {"method": "a", "seed": 2, "error": "x"},
  ]
  entry = report.summarize(rows, ["UA", "RA", "gap"])[0]
  assert entry["seeds"] == 2 and entry["UA"]["n"] == 2 and "RA" not in entry
  assert math.isnan(report.summarize(rows[:1], ["UA"])[0]["UA"]["ci95"])


def test_results_round_trip(tmp_path):
  written = write(tmp_path, command="python -m x --out='a b'")
  read = report.read_results(tmp_path / "results.json")
  assert read == written and read.spec == SPEC and read.seeds == 3
  assert set(read.versions) >= {"python", "jax", "jaxlib", "numpy"}


def test_nan_is_written_as_null(tmp_path):
  write(tmp_path, [row("a", 0, np.float32("nan"), np.inf, 1.0, np.int64(3))])
  text = (tmp_path / "results.json").read_text()
  assert "NaN" not in text and "Infinity" not in text
  content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
  assert content["rows"][0]["UA"] is None and content["rows"][0]["RA"] is None and content["rows"][0]["cost"] == 3
  assert content["summary"][0]["gap"]["ci95"] is None


@pytest.mark.parametrize("bad", [object(), {1, 2}, lambda: 0])
def test_a_failed_write_leaves_the_old_file(tmp_path, bad):
  write(tmp_path)
  before = (tmp_path / "results.json").read_bytes()
  with pytest.raises(TypeError, match="results can hold"):
    write(tmp_path, [row("a", 0, 1.0, 1.0, 1.0, 1, note=bad)])
  assert (tmp_path / "results.json").read_bytes() == before


def test_a_crash_while_writing_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
  report.write_text(tmp_path / "f", "old")

  def crash(_):
    raise OSError("disk full")

  monkeypatch.setattr("os.fsync", crash)
  with pytest.raises(OSError, match="disk full"):
    report.write_text(tmp_path / "f", "new")
  assert [p.name for p in tmp_path.iterdir()] == ["f"] and (tmp_path / "f").read_text() == "old"


def test_bad_rows_and_specs_are_refused(tmp_path):
  with pytest.raises(ValueError, match="must name its method"):
    write(tmp_path, [{"seed": 0, "UA": 1.0}])
  with pytest.raises(ValueError, match="score must be one of UA"):
    write(tmp_path, spec=SPEC._replace(score="nope"))
  with pytest.raises(ValueError, match="unit of column 'x' must be one of"):
    write(tmp_path, spec=SPEC._replace(columns=(*COLUMNS, Column("x", "x", None, "km"))))
  with pytest.raises(ValueError, match="better='lower' or 'higher'"):
    write(tmp_path, spec=SPEC._replace(score="UA"))
  (tmp_path / "other.json").write_text("{}")
  with pytest.raises(ValueError, match="has no bench"):
    report.read_results(tmp_path / "other.json")


def test_numbers_are_readable():
  assert [report.number(v, "count") for v in (999, 1000, 999_600, 2.5e9)] == ["999", "1k", "1M", "2.5G"]
  assert report.interval({"mean": 1.0, "ci95": 0.0}, "%") == "1.0"
  assert report.number(float("nan"), "%") == "–" and report.number(12345.6, "s") == "12346"


def test_choice_takes_the_smallest_gap_within_the_budget():
  choice = report.choose(report.summarize(three_seeds(), [c.name for c in COLUMNS]), SPEC)
  assert choice.method == "near" and choice.over_budget == ("dear",) and choice.budget == 1000
  assert choice.tied == ("close",)  # the interval of far does not reach
  assert "near" in choice.answer and "2.0 ±2.5 points at 30 % of the cost of retrain" in choice.answer
  assert "close costs less (100)" in choice.answer
  assert "smallest mean" in choice.rule


def test_choice_follows_budget_direction_and_anchors():
  summary = report.summarize(three_seeds(), [c.name for c in COLUMNS])
  assert report.choose(summary, SPEC._replace(budget=60.0)).method == "far"
  assert report.choose(summary, SPEC._replace(score="tow")).method == "near"
  assert report.choose(summary, SPEC._replace(budget=1e9)).method == "dear"
  assert report.choose(summary, SPEC._replace(anchors=("original", "near"))).method == "close"
  assert report.choose(summary, SPEC._replace(budget=1.0)).method is None
  free = SPEC._replace(reference=None, anchors=())
  assert report.choose(summary, free).method == "retrain"  # nothing is set apart when there is no reference


def test_equal_means_go_to_the_narrower_interval():
  rows = [row("wide", s, 0, 0, 2.0 + d, 1) for s, d in enumerate((-1, 0, 1))]
  rows += [row("narrow", s, 0, 0, 2.0 + d / 10, 9) for s, d in enumerate((-1, 0, 1))]
  assert report.choose(report.summarize(rows, ["gap", "cost"]), SPEC).method == "narrow"


def test_deviations_are_paired_by_seed():
  found = report.deviations(three_seeds(), "UA", "retrain")
  assert found["near"]["mean"] == pytest.approx(-2.0) and found["near"]["ci95"] == pytest.approx(0.0)
  assert "retrain" not in found and "broken" not in found
  assert report.deviations(three_seeds(), "UA", "absent") == {}


def test_live_table_in_a_log_is_aligned_and_only_grows():
  stream = io.StringIO()
  table = LiveTable(COLUMNS, ["retrain", "a_long_method_name", "broken"], stream)
  for entry in [row("retrain", 0, 90, 99, 0, 1e6), row("a_long_method_name", 0, 100, 1.25, 12.345, 123456)]:
    table.add(entry)
  table.add({"method": "broken", "seed": 0, "error": "first line\nsecond"})
  table.add(row("retrain", 1, 92, 99, 0, 1e6))
  lines = stream.getvalue().splitlines()
  assert "\x1b" not in stream.getvalue() and len(lines) == 2 + 4
  ends = {len(line) for line in (*lines[:4], lines[5])}
  assert len(ends) == 1  # the last column ends in one place
  assert lines[3].split() == ["a_long_method_name", "1", "100.0", "1.2", "12.3", "0.877", "123k"]
  assert lines[4].split(maxsplit=2) == ["broken", "1", "failed: first line"]
  assert "91.0 ±12.7" in lines[5]
  column = lines[1].index("-----", len("a_long_method_name") + 2)
  assert all(line[column - 1] == " " for line in lines)


def test_live_table_redraws_on_a_terminal(monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "200")
  stream = Terminal()
  table = LiveTable(COLUMNS, stream=stream)
  table.add(row("retrain", 0, 90, 99, 0, 1))
  table.add(row("near", 0, 90, 99, 0, 1))
  assert "\x1b[3A\x1b[J" in stream.getvalue()
  assert stream.getvalue().endswith(table.text() + "\n") and len(table.text().splitlines()) == 4


def test_live_table_writes_ascii_where_nothing_else_can_be_written():
  raw = io.BytesIO()
  table = LiveTable(COLUMNS, stream=io.TextIOWrapper(raw, encoding="ascii"))
  for seed in range(2):
    table.add(row("a", seed, 1.0 + seed, None, 0, 1))
  assert b"1.5+-6.4" in raw.getvalue()


class Page(html.parser.HTMLParser):
  """The text of every cell, and the tags that were opened."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.heads, self._inside = [], [], False
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self._inside = tag == "th" and dict(attrs).get("scope") == "row"

  def handle_data(self, data):
    if self._inside:
      self.heads.append(data)
      self._inside = False


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  path = tmp_path_factory.mktemp("report")
  rng = np.random.default_rng(0)
  parts = {part: rng.uniform(size=50) for part in ("forget", "retain", "test")}
  results = write(path, command="python -m bench <evil>")
  report.write_report(path, results, {"near": parts, "retrain": parts | {"test": [np.nan]}})
  return path


def test_page_holds_every_method_and_needs_nothing_else(page):
  text = (page / "report.html").read_text()
  assert Page(text).heads == ["retrain", "dear", "near", "close", "far", "original", "broken"]
  assert not re.search(r"(src|href)=['\"](?!data:)", text)
  assert text.count("data:image/png;base64,") == 3
  for column in COLUMNS:
    assert column.description in text
  assert "closer to retrain is better" in text.lower() and "use this" in text


def test_page_escapes_text(page):
  text = (page / "report.html").read_text()
  assert "Forget &lt;b&gt;a class&lt;/b&gt;" in text and "<b>a class" not in text
  assert "non-finite &lt;loss&gt;" in text and "bench &lt;evil&gt;" in text
  assert not {"evil", "loss"} & set(Page(text).tags)


def test_page_lists_failures_once(page):
  assert (page / "report.html").read_text().count("non-finite &lt;loss&gt;") == 1
  assert "seeds 0, 1, 2" in (page / "report.html").read_text()


def test_plots_are_written_as_files(page):
  assert {p.name for p in page.glob("*.png")} == {"distance.png", "cost.png", "confidence.png"}
  assert all(p.read_bytes().startswith(b"\x89PNG") for p in page.glob("*.png"))


def test_report_of_a_bench_without_reference_histograms_or_some_metrics(tmp_path):
  columns = (
    Column("acc", "Accuracy", "higher", "%"),
    Column("fgt", "Forgetting", "lower", "%"),
    Column("s", "Time", None, "s"),
  )
  spec = Spec("Stream", "Which learner?", columns, score="acc", cost="s", reference=None, anchors=())
  rows = [{"method": "gem", "seed": 0, "acc": 60.0, "s": 3.0}, {"method": "er", "seed": 0, "acc": 55.0, "fgt": 9.0}]
  results = report.write_results(tmp_path / "results.json", "stream", {}, rows, spec=spec)
  text = report.write_report(tmp_path, results).read_text()
  assert Page(text).heads == ["gem", "er"] and "Use gem" in text
  assert [p.name for p in tmp_path.glob("*.png")] == ["cost.png"]


def test_a_report_in_which_everything_failed_still_stands(tmp_path):
  results = write(tmp_path, [{"method": "a", "seed": 0, "error": "no"}])
  text = report.write_report(tmp_path, results).read_text()
  assert "No method with a score lies within the budget." in text and Page(text).heads == ["a"]


def test_markdown_from_results_files(tmp_path):
  write(tmp_path, command="python -m bench --out=x")
  text = report.results_markdown([tmp_path / "results.json"] * 2, level=3)
  assert text.count("### Forget") == 2 and text.count("```bash\npython -m bench --out=x\n```") == 2
  table = [line for line in text.splitlines() if line.startswith("|")][:9]
  assert {line.count("|") for line in table} == {7}
  assert "| **near** | 88.0 ±2.5 | 98.0 | 2.0 ±2.5 | 0.980 ±0.025 | 300 |" in table
  assert "| broken (failed) | – | – | – | – | – |" in table
  assert "Failed: broken, seeds 0, 1, 2: `non-finite <loss> at step 3`" in text
  assert text == report.results_markdown([tmp_path / "results.json"] * 2, level=3)
