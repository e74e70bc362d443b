"""`python -m experiments.continual.run`: rows, report, bad input, and a kill in the middle of the third task."""

from __future__ import annotations

import json
import signal
import time

import jax.numpy as jnp
import jobs
import numpy as np
import pytest

import unlearnjax as uj
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
  pairs = results["rows"][0]["pairs"]
  drop, overlap = (np.array(pairs[name], float) for name in ("drop", "overlap"))
  below = np.tril(np.ones((5, 5), bool), -1)
  assert (np.isfinite(drop) == below).all() and (np.isfinite(overlap) == below).all()
  matrix = np.array(results["rows"][0]["matrix"]) / 100
  np.testing.assert_allclose(drop[below], (np.roll(matrix, 1, 0) - matrix)[below], atol=2e-4)
  assert ((0 < overlap[below]) & (overlap[below] < 1)).all() and "pairs" not in er
  assert set(pairs["rank_correlation"]) == {f"{a}/{b}" for a in ("overlap", "expected") for b in ("drop", "rise")}
  page = (finished / "report.html").read_text()
  for title in (
    "Accuracy on every task after every task",
    "While the tasks are learned",
    "What is kept",
    "tangent kernel says",
  ):
    assert title in page
  assert {p.name for p in finished.glob("*.png")} >= {"matrix.png", "curves.png", "kept.png", "pairs.png"}


def test_the_kernel_of_a_linear_model_foresees_what_ridge_regression_does():
  """Tasks in two halves of the input do not meet; the same task again is met fully, and expected to be answered."""
  from experiments.continual.overlap import foreseen

  fn = lambda params, inputs, **_: uj.core.Outputs(inputs["x"] @ params["w"])
  model = uj.Model({"w": jnp.zeros((8, 2))}, fn=fn)
  x = np.random.default_rng(0).normal(size=(3, 4, 8)).astype(np.float32)
  x[0, :, :4] = x[1, :, 4:] = 0
  x[2] = x[0]
  y = np.array([[0, 1, 0, 1]] * 3)
  tasks = {"inputs": {"x": jnp.asarray(x)}, "y": jnp.asarray(y), "valid": jnp.ones((3, 4), bool)}
  found = foreseen(model, tasks, np.zeros((3, 4, 2)), ridge=1e-6)
  assert found["overlap"][1, 0] == pytest.approx(0, abs=1e-6) and found["overlap"][2, 0] == pytest.approx(1, abs=1e-3)
  assert found["expected"][1, 0] == pytest.approx(0, abs=1e-4)
  assert found["expected"][2, 0] == pytest.approx(2**-0.5, abs=1e-2)  # half a class each


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
  for scenario in ("class", "task", "overlap", "group"):
    for name, hyper in configs.METHODS.items():
      method = setting.method_of(name, hyper, configs.Config(scenario=scenario))
      assert method.name == setting.FACTORY.get(name, name)


def test_every_configuration_of_a_study_has_its_hyperparameters():
  named = {name: config for name, config in configs.CONFIGS.items() if config.tuned}
  assert {config.tuned for config in named.values()} == set(configs.TUNED)
  for config in named.values():
    for name, hyper in configs.TUNED[config.tuned].items():
      assert configs.hyper_of(name, config) == hyper != configs.METHODS[name]
      setting.method_of(name, hyper, config)


@pytest.mark.slow
def test_networks_apart_forget_nothing_and_a_hypernetwork_may_be_told_the_task(tmp_path):
  arguments = ("--config=mnist_permuted", "--dataset=digits", "--tasks=2", "--methods=single_task,hypernetwork", *TINY)
  assert jobs.main(run, f"--out={tmp_path / 'out'}", *arguments) == 0
  rows = {row["method"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["rows"]}
  alone, matrix = rows["single_task"], np.array(rows["single_task"]["matrix"])
  assert alone["bwt"] == 0 and (np.diag(matrix) == matrix[-1]).all() and matrix.min() < 40 < alone["acc"]
  assert rows["hypernetwork"]["acc"] > 40  # chance is 10


@pytest.mark.slow
def test_tasks_that_share_classes(tmp_path):
  arguments = ("--scenario=overlap", "--tasks=4", "--methods=cuber,if2net", *TINY)
  assert jobs.main(run, f"--out={tmp_path / 'out'}", *arguments) == 0
  rows = {row["method"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["rows"]}
  assert set(rows) == {"cuber", "if2net"} and not any("error" in row for row in rows.values())
  for row in rows.values():
    assert np.array(row["matrix"]).shape == (4, 4) and row["acc"] > 40 and "fwt" in row  # chance is 25
  assert "min_acc" not in rows["if2net"] and rows["if2net"]["gradient_evaluations"] == 0


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
