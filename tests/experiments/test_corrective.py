"""The corrective job: what is known decides what comes back, a second start changes nothing, bad input is one line."""

from __future__ import annotations

import json

import jobs
import pytest

import unlearnjax as uj
from experiments.classify import run as classify
from experiments.corrective import configs, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  out = tmp_path_factory.mktemp("corrective") / "out"
  assert jobs.main(run, f"--out={out}", "--methods=ssd", "--epochs=12") == 0
  return out


def test_the_table_says_what_the_paper_says(finished):
  rows = jobs.rows(finished)
  assert list(rows) == ["original", "oracle", "eu", "ssd"]
  assert rows["original"]["corrected_100"] < 20 < rows["oracle"]["corrected_10"]
  assert rows["eu"]["corrected_10"] < 30  # nine tenths of the damage are still in the data
  assert rows["eu"]["corrected_100"] == pytest.approx(rows["oracle"]["corrected_100"])  # the same data, the same key
  assert rows["ssd"]["corrected_100"] > rows["original"]["corrected_100"] + 20
  assert all(row["retained"] > 85 for row in rows.values())
  assert rows["eu"]["gradient_evaluations"] > 2 * rows["oracle"]["gradient_evaluations"] / 3


def test_a_second_start_changes_no_row(finished):
  before = json.loads((finished / "results.json").read_text())["rows"]
  assert jobs.main(run, f"--out={finished}", "--methods=ssd", "--epochs=12") == 0
  assert json.loads((finished / "results.json").read_text())["rows"] == before
  assert all((finished / name).exists() for name in ("report.html", "cost.png", "curve.png"))


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("--methods=nope",), "unknown method 'nope'; there are original, oracle, eu, fine_tune"),
    (("--methods=,",), "--methods is empty"),
    (("--config=nope",), "unknown configuration 'nope'; there are digits,"),
    (("--forget=class:3",), "--forget means nothing to this benchmark"),
    (("--epochs=13",), "holds results of another configuration"),
  ],
)
def test_bad_input_is_one_line(finished, capsys, arguments, message):
  before = jobs.contents(finished)
  assert jobs.main(run, f"--out={finished}", *arguments) == 2
  error = capsys.readouterr().err.strip()
  assert message in error and len(error.splitlines()) == 1
  assert jobs.contents(finished) == before


def test_corruptions_are_read_from_text():
  data = uj.data.load("digits")
  damaged, rows = configs.corrupt(configs.CONFIGS["digits_confusion"], data, seed=0)
  assert set(rows.column("y").tolist()) == {3, 5} and damaged.affected is not None
  assert len(configs.corrupt(configs.CONFIGS["digits"], data, seed=0)[1]) == 72
  for text in ("fire:0.1", "backdoor:x", "confusion:3:0.1"):
    with pytest.raises(ValueError, match="corruption"):
      configs.corrupt(configs.like("digits", corruption=text), data, seed=0)


def test_flags_are_shared_with_the_classification_job():
  assert run.FLAGS is classify.FLAGS and run.FLAGS["seeds"].default == 1
