"""`python -m experiments.continual.run`: rows, report, bad input, and a kill in the middle of the third task."""

from __future__ import annotations

import json
import signal
import time

import jobs
import numpy as np
import pytest

from experiments.continual import configs, run, setting

TINY = ("--train_size=250", "--test_size=100", "--epochs=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  out = tmp_path_factory.mktemp("continual") / "out"
  assert jobs.main(run, f"--out={out}", "--methods=fine_tune,er", *TINY) == 0
  return out


def test_rows_hold_the_matrix_the_curve_and_what_is_read_off_them(finished):
  results = json.loads((finished / "results.json").read_text())
  assert [row["method"] for row in results["rows"]] == ["fine_tune", "er"]
  for row in results["rows"]:
    matrix = np.array(row["matrix"]) / 100
    assert matrix.shape == (5, 5) and "error" not in row
    assert row["acc"] == pytest.approx(100 * matrix[-1].mean(), abs=0.01)
    assert row["la"] + 0.8 * row["bwt"] == pytest.approx(row["acc"], abs=0.02)
    curve = row["curve"]
    assert np.array(curve["accuracy"]).shape[1] == 5 and curve["task"][-1] == 4 and "fwt" not in row
    assert curve["step"] == sorted(curve["step"])
  er = results["rows"][1]
  assert er["kept_kb"] > 0 and er["gradient_evaluations"] > 500
  page = (finished / "report.html").read_text()
  for title in ("Accuracy on every task after every task", "While the tasks are learned", "What is kept"):
    assert title in page
  assert {p.name for p in finished.glob("*.png")} >= {"matrix.png", "curves.png", "kept.png"}


def test_the_same_command_changes_nothing(finished):
  before = jobs.contents(finished)
  assert jobs.main(run, f"--out={finished}", "--methods=fine_tune,er", *TINY) == 0
  assert jobs.contents(finished) == before


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--methods=nope",), "unknown method 'nope'; there are fine_tune, joint,"),
    (("--tasks=3",), "tasks must divide the 10 classes of 'digits', got 3"),
    (("--dataset=nope",), "unknown configuration 'nope'"),
    (("--forget=class:3",), "--forget means nothing to this benchmark"),
    (("--scenario=domain",), "another configuration"),
  ],
)
def test_bad_input_is_one_line(capsys, finished, flags, message):
  assert jobs.main(run, f"--out={finished}", "--methods=fine_tune", *TINY, *flags) == 2
  err = capsys.readouterr().err
  assert message in err and err.count("\n") == 1


def test_every_row_of_the_default_has_a_method():
  for scenario in ("class", "task"):
    for name, hyper in configs.METHODS.items():
      method = setting.method_of(name, hyper, configs.Config(scenario=scenario))
      assert method.name == setting.FACTORY.get(name, name)


@pytest.mark.slow
def test_killed_in_the_third_task(tmp_path):
  """The same command ends with the same bits, memories included."""
  arguments = ("--methods=der_pp", "--train_size=600", "--test_size=100", "--epochs=4", "--checkpoint_every=5")
  process = jobs.start("experiments.continual.run", f"--out={tmp_path / 'killed'}", *arguments)
  there = lambda: any("tmp" not in p.name for p in (tmp_path / "killed").glob("checkpoints/seed0/*/*/*/2_*/fit/*"))
  try:
    end = time.monotonic() + 600
    while not there():
      assert process.poll() is None, process.communicate()
      assert time.monotonic() < end
      time.sleep(0.002)
  finally:
    process.kill()
    process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL
  assert not (tmp_path / "killed" / "rows" / "der_pp-0.json").exists()
  for out in ("killed", "whole"):
    assert jobs.main(run, f"--out={tmp_path / out}", *arguments) == 0
  assert jobs.rows(tmp_path / "killed") == jobs.rows(tmp_path / "whole") != {}
