"""The serving job: the stream is what it says, and a second start changes nothing."""

from __future__ import annotations

import dataclasses
import json

import jobs
import numpy as np
import pytest

import unlearnjax as uj
from experiments.serve import configs, run, sections

SMALL = dataclasses.replace(configs.Config(), train_size=200, test_size=100)


def test_the_stream_mixes_requests_of_every_kind():
  data = uj.data.load("digits", train_size=200, test_size=100)
  public, stream = configs.requests(SMALL, data, seed=0)
  learns = [r for r in stream if isinstance(r, uj.Learn)]
  forgets = [r for r in stream if isinstance(r, uj.Forget)]
  assert (len(learns), len(forgets), len(public)) == (10, 20, 40) and isinstance(stream[0], uj.Learn)
  ids = np.concatenate([r.task.train.ids for r in learns])
  assert len(set(ids)) == len(ids) == 160 and not np.isin(public.ids, ids).any()
  reasons = [r.reason for r in forgets]
  assert reasons.count("asked again") == 2 and reasons.count("never learned") == 2
  assert sum(r.where is not None for r in forgets) >= 3
  again = configs.requests(SMALL, data, seed=0)[1]
  assert [r.ids for r in again if isinstance(r, uj.Forget)] == [r.ids for r in forgets]
  other = configs.requests(SMALL, data, seed=1)[1]
  assert [r.ids for r in other if isinstance(r, uj.Forget)] != [r.ids for r in forgets]


def test_a_report_without_rows_has_no_sections(tmp_path):
  assert sections.of(tmp_path, [{"method": "sisa", "seed": 0, "error": "no"}]) == {}


@pytest.mark.slow
def test_the_job_and_its_second_start(tmp_path, capsys):
  command = (f"--out={tmp_path}", "--methods=sisa,ssd", "--train_size=200", "--test_size=100", "--epochs=2")
  assert jobs.main(run, *command) == 0
  results = json.loads((tmp_path / "results.json").read_text())
  rows = {row["method"]: row for row in results["rows"]}
  assert list(rows) == ["from_scratch", "sisa", "ssd"] and results["bench"] == "serve"
  assert rows["sisa"]["exact"] == 100 and rows["ssd"]["exact"] == 0 and rows["from_scratch"]["cost_percent"] == 100
  for row in rows.values():
    outcomes = [r["outcome"] for r in row["receipts"]]
    assert len(outcomes) == 30 and outcomes.count("never learned") == 2 and "failed" not in outcomes
    assert not uj.serving.verify_directory(tmp_path / "services" / f"{row['method']}-0").problems
  page = (tmp_path / "report.html").read_text()
  assert "Receipts" in page and "already forgotten" in page and (tmp_path / "requests.png").exists()
  before = jobs.contents(tmp_path)
  assert jobs.main(run, *command) == 0
  after = jobs.contents(tmp_path)
  assert {k: v for k, v in after.items() if not k.endswith(".png")} == {
    k: v for k, v in before.items() if not k.endswith(".png")
  }


def test_bad_input_is_one_line(tmp_path, capsys):
  assert jobs.main(run, f"--out={tmp_path}", "--forget=class:3") == 2
  assert "--forget means nothing to this benchmark" in capsys.readouterr().err
  assert jobs.main(run, f"--out={tmp_path}", "--methods=magic") == 2
  assert "unknown method 'magic'; there are from_scratch, sisa" in capsys.readouterr().err
