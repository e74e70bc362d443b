"""The regression job: the oracle is the measure, a second start changes nothing, bad input is one line."""

from __future__ import annotations

import json
import math

import jobs
import numpy as np
import pytest

import unlearnjax as uj
from experiments.regression import configs, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  out = tmp_path_factory.mktemp("regression") / "out"
  assert jobs.main(run, f"--out={out}") == 0
  return out


def test_blindspot_is_nearer_to_retraining_than_its_rivals(finished):
  rows = jobs.rows(finished)
  assert list(rows) == ["original", "retrain", "fine_tune", "gaussian_amnesiac", "blindspot"]
  assert rows["retrain"]["w1"] == 0 and rows["retrain"]["AIN"] == 1 and rows["original"]["AIN"] < 0.1
  w1 = [rows[name]["w1"] for name in ("blindspot", "gaussian_amnesiac", "fine_tune", "original")]
  assert w1 == sorted(w1)
  assert rows["retrain"]["mae_forget"] > 2 * rows["original"]["mae_forget"]  # the band is gone by design
  assert rows["blindspot"]["AIN"] > rows["fine_tune"]["AIN"]
  assert rows["blindspot"]["mae_retain"] < 1.1 * rows["original"]["mae_retain"]


def test_a_second_start_changes_no_row(finished):
  rows = lambda: sorted(json.loads((finished / "results.json").read_text())["rows"], key=lambda row: row["method"])
  before = rows()
  assert jobs.main(run, f"--out={finished}", "--methods=fine_tune") == 0
  assert rows() == before  # those of methods that were not asked for stand too
  assert (finished / "report.html").exists()


def test_watching_costs_no_update(finished):
  config = configs.CONFIGS["diabetes"]
  setting = run.Setting(config, 0, uj.Run(out=finished))
  step = run.relearner(setting.fn, config.relearn_rate)
  curves = {}
  for rows in (1, 40):
    watched = setting.request.forget[:rows]
    state = step.init(uj.UnlearnState.create(setting.original[0].params, rng=setting.key("relearn")))
    plan = uj.zip_roles(anchor="train", batch_size=32, epochs=1, train=setting.data.train, watched=watched)
    curves[rows] = uj.fit(step, state, plan)[1]["train/loss"]
  np.testing.assert_allclose(curves[1], curves[40], rtol=1e-6)
  assert setting.relearn_steps(setting.original[0]) == 0
  assert 0 < setting.relearn_steps(setting.oracle[0]) < math.inf


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("--dataset=digits",), "unknown configuration 'digits'; there are diabetes,"),
    (("--methods=ssd",), "unknown method 'ssd'; there are original, retrain, fine_tune"),
    (("--forget=class:3",), "'diabetes' is for regression"),
    (("--forget=random:0.1",), "holds results of another configuration"),
  ],
)
def test_bad_input_is_one_line(finished, capsys, arguments, message):
  before = jobs.contents(finished)
  assert jobs.main(run, f"--out={finished}", *arguments) == 2
  error = capsys.readouterr().err.strip()
  assert message in error and len(error.splitlines()) == 1
  assert jobs.contents(finished) == before
