"""The compiler's account of a step's memory."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.language.memory import axes

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*flags):
  env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
  command = [sys.executable, "-m", "experiments.language.memory", *flags]
  return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_meshes_are_read():
  assert axes("data=2,model=4") == {"data": 2, "model": 4}
  for wrong in ("data", "data=x", "data=0", "=2"):
    with pytest.raises(ValueError, match="--mesh must"):
      axes(wrong)


@pytest.mark.slow
def test_weights_are_split_and_the_verdict_follows_the_limit(tmp_path):
  small = ("--model=llama3.2-1b", "--layers=1", "--mesh=data=2,model=2", "--batch=2", "--length=16")
  done = run(*small, f"--memory_out={tmp_path}")
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / "memory.json").read_text())
  assert found["fits"] and "fits into 4 x 16 GiB" in done.stdout
  memory = found["bytes"]
  assert abs(memory["weights"] / (2 * memory["parameters"] / 4) - 1) < 0.01
  assert memory["weights"] + memory["trained"] + memory["temporary"] <= memory["total"]
  assert "does not fit" in run(*small, "--gib=0.01").stdout


@pytest.mark.slow
def test_flags_that_are_wrong_are_explained():
  done = run("--mesh=eight")
  assert done.returncode != 0 and "--mesh must be written as data=2,model=4, got 'eight'" in done.stderr + done.stdout
  done = run("--mesh=data=2", "--batch=3")
  assert done.returncode != 0 and "--batch=3 rows cannot be split over data=2" in done.stderr + done.stdout
