"""Attacks with many models: perfect forgetting, none at all, and the job itself."""

from __future__ import annotations

import json

import jax
import jobs
import numpy as np
import pytest

import unlearnjax as uj
from experiments.classify import configs, many, strong

JOB = ("--dataset=digits", "--train_size=200", "--test_size=60", "--epochs=4", "--methods=fine_tune,ssd", "--models=8")


def some_models(seed: int, *, shift: float = 0.0, models: int = 32, examples: int = 40) -> many.Said:
  """What models say whose margins are normal, with a mean of their own for every example."""
  center = np.random.default_rng(0).normal(3, 1, size=examples) + shift
  confs = {
    name: np.random.default_rng([seed, i]).normal(center, 1.0, size=(models, examples))
    for i, name in enumerate(many.SETS)
  }
  return many.Said(confs, {name: np.full(models, 95.0) for name in many.SETS})


def test_models_of_one_distribution_cannot_be_told_apart():
  found = many.distances(some_models(1), some_models(2), some_models(3, shift=3))
  assert all(abs(found[name] - 50) < 5 for name in ("ulira", "ulira_auc", "lira_auc"))
  assert found["epsilon"] < 4 and found["final"] == found["forgetting"] > 0.1
  assert (found["UA"], found["RA"], found["TA"]) == (5, 95, 95)


def test_models_that_still_know_are_found_out():
  original = some_models(3, shift=20)
  found = many.distances(original, some_models(2), original)
  assert min(found[name] for name in ("ulira", "ulira_auc", "lira_auc")) > 99
  assert found["epsilon"] == 50 and found["final"] == 0 and found["klom_forget"] > 5


def test_an_attacker_who_knows_the_method_sees_more():
  """Models that forgot in a way of their own: LiRA looks for originals, U-LiRA for what is different."""
  found = many.distances(some_models(1, shift=-4), some_models(2), some_models(3, shift=4))
  assert found["ulira_auc"] > 95 and found["lira_auc"] < 5


def test_what_models_say():
  data = uj.data.load("digits", train_size=100, test_size=60)
  request = uj.data.forget_random(data, 0.1)
  fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10, widths=(8,))
  recipe = configs.Config(epochs=2).recipe
  models = uj.train_many(fn, [data.train], recipe, keys=jax.random.split(jax.random.key(0), 3))
  found = many.said(models, request)
  predicted = uj.auditing.predict(models[1], request)
  np.testing.assert_allclose(1 / (1 + np.exp(-found.confs["forget"][1])), predicted.confidence("forget"), rtol=1e-4)
  assert found.confs["retain"].shape == (3, 90) and found.accuracy["test"][1] == 100 * predicted.accuracy("test")


def test_bad_input_is_one_line(capsys, tmp_path):
  for flag, message in (
    ("--methods=nope", "unknown method 'nope'"),
    ("--forget=random:2", "fraction must be in (0, 1)"),
  ):
    assert jobs.main(strong, f"--out={tmp_path / 'out'}", flag) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
  assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_job(capsys, tmp_path):
  out = tmp_path / "out"
  assert jobs.main(strong, f"--out={out}", *JOB) == 0
  said = capsys.readouterr().out
  assert [line.split()[0] for line in said.splitlines()[2:6]] == ["original", "retrain", "fine_tune", "ssd"]
  found = jobs.rows(out)
  for name, row in found.items():
    numbers = {k: row[k] for k in ("ulira", "ulira_auc", "lira_auc", "UA", "RA", "TA", "final", "forgetting")}
    assert all(0 <= v <= 100 for v in numbers.values()), (name, numbers)
    assert row["recompile_seconds"] == 0, f"{name} compiled for later models"
  assert found["original"]["relearn"] == 0 == found["original"]["AIN"]
  assert found["retrain"]["relearn"] > 0 and found["retrain"]["cost_percent"] == 100
  assert 0 < found["ssd"]["cost_percent"] and found["ssd"]["hyper"]
  assert json.loads((out / "config.json").read_text())["models"] == 8
  assert "Strong attacks after forgetting random 0.1 of digits" in (out / "report.html").read_text()
  before = jobs.contents(out)
  assert jobs.main(strong, f"--out={out}", *JOB) == 0
  assert jobs.contents(out) == before
  capsys.readouterr()
  assert jobs.main(strong, f"--out={out}", *JOB, "--models=9") == 2
  assert "models: 8 there, 9 now" in capsys.readouterr().err and jobs.contents(out) == before
