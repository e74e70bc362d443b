"""The benchmark measures, and the generated pages are made from runs."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_bench_prints_ratios(tmp_path):
  command = [
    sys.executable,
    "-m",
    "experiments.bench.classify",
    "--only=mlp_train_64",
    "--repeats=1",
    f"--out={tmp_path}",
  ]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  row = json.loads((tmp_path / "bench.json").read_text())["rows"][0]
  assert row["ours"] > 100 and row["ours_mib"] > 10


def test_unknown_workload_is_refused():
  command = [sys.executable, "-m", "experiments.bench.classify", "--only=nothing"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.returncode == 2 and done.stderr.strip().splitlines()[-1].startswith("error: unknown workload nothing")


def test_marks_are_replaced_whole():
  from experiments.results import replaced

  text = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
  assert replaced(text, "x", "new\n") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
  with pytest.raises(ValueError, match="no marks"):
    replaced(text, "y", "")
