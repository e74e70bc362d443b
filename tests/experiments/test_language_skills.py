"""The benchmark of skills: its questions, its labels, and the job from end to end."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments.language import skill_plots, skills, tasks
from unlearnjax.core import Run

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = tasks.Config(dim=48, depth=3, train_size=40, test_size=20)


def test_questions_are_balanced_and_answered_by_their_rule():
  sets = tasks.table(SMALL, 0)
  assert set(sets) == {(name, part) for name in tasks.RULES for part in ("train", "test")}
  for k, name in enumerate(tasks.RULES):
    for part, size in (("train", 40), ("test", 20)):
      source = sets[name, part]
      tokens, y = source.column("tokens"), source.column("y")
      assert len(source) == size and y.sum() == size // 2
      np.testing.assert_array_equal(tokens[:, 0], tasks.SYMBOLS + k)
      np.testing.assert_array_equal(tasks.RULES[name](tokens[:, 1:-1]), y)
      np.testing.assert_array_equal(tokens[:, -1] - tasks.YES, y)
      np.testing.assert_array_equal(source.column("other_tokens")[:, -1] - tasks.YES, 1 - y)
      assert source.column("mask").sum(1).tolist() == [1] * size and source.column("mask")[:, -1].all()
  assert tasks.VOCABULARY == 1 + max(s.column("tokens").max() for s in sets.values())


def test_other_labels_are_balanced_and_drawn_once():
  source = tasks.table(SMALL, 0)["majority", "train"]
  first, second = (tasks.relabelled(source, "random", 3).column("label_tokens") for _ in range(2))
  np.testing.assert_array_equal(first, second)
  said, y = first[:, -1] - tasks.YES, source.column("y")
  assert said.sum() == 20 and 8 < (said == y).sum() < 32
  np.testing.assert_array_equal(first[:, :-1], source.column("tokens")[:, :-1])
  flipped = tasks.relabelled(source, "flipped", 3)
  np.testing.assert_array_equal(flipped.column("label_tokens")[:, -1] - tasks.YES, 1 - y)
  assert flipped.column("label_mask") is not None and flipped.columns["tokens"] is source.columns["tokens"]


def test_ranks_leave_out_skills_without_a_ratio():
  assert skills.rank(np.array([1.0, 2.0, 3.0]), np.array([0.1, np.nan, 0.2])) == pytest.approx(1)
  assert np.isnan(skills.rank(np.ones(3), np.full(3, np.nan)))


def test_pictures_take_ratios_that_are_missing(tmp_path):
  course = {name: {"accuracy": 0.9, "course": [0.6, 0.5]} for name in tasks.RULES}
  size = len(tasks.RULES)
  matrix = [[None if i == j else 0.5 for i in range(size)] for j in range(size)]
  found = skill_plots.sections(tmp_path, [{"method": "random_labels", "matrix": matrix, "skills": course}])
  assert len(found) == 2 and all((tmp_path / f"{name}.png").stat().st_size > 3000 for name in ("matrix", "course"))
  assert skill_plots.sections(tmp_path, [{"method": "x", "error": "e"}]) == {}


@pytest.mark.slow
def test_the_job_writes_its_matrices_and_courses(tmp_path):
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
  flags = ["--config=tiny", "--methods=random_labels_100", f"--out={tmp_path}"]
  command = [sys.executable, "-m", "experiments.language.skills", *flags]
  done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-3000:]
  (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
  assert not row.get("error") and np.shape(row["matrix"]) == (6, 6) and set(row["skills"]) == set(tasks.RULES)
  for skill in row["skills"].values():
    assert len(skill["course"]) == 2 and skill["course"][-1] == pytest.approx(skill["after"], abs=1e-3)
  assert row["skills"]["last_high"]["accuracy"] > 0.9 and row["matrix"][0][0] is not None
  assert "What unlearning one skill does to all" in (tmp_path / "report.html").read_text()


def test_a_model_without_skills_has_nothing_to_lose():
  setting = skills.Setting(SMALL, 0, Run())
  setting.model, setting.answered = None, lambda model: (np.full(6, 0.55), np.zeros(6))
  with pytest.raises(ValueError, match="learned none of the skills: give it more epochs"):
    _ = setting.before
