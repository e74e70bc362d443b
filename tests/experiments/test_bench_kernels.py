"""The benchmark of passes over weights, at a tiny size."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def bench(*arguments, timeout=300):
  command = [sys.executable, "-m", "experiments.bench.kernels", *arguments]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


@pytest.mark.slow
def test_every_pass_is_measured_beside_its_peers(tmp_path):
  done = bench("--sizes=500K", "--repeats=1", f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / "kernels.json").read_text())["rows"]
  assert len(rows) == 6 and {row["size"] for row in rows} == {500_000}
  for row in rows:
    assert row["ms"] > 0 and row["roof_gb_s"] > 0
    assert row["plain_ratio"] > 0 and row["published_ratio"] > 0
  assert rows[0]["extra_memory"] < 1.2  # times the scores; small trees pay for the sample


def test_sizes_and_names_are_checked():
  done = bench("--only=sort")
  assert done.returncode == 2 and done.stderr.strip().splitlines()[-1].startswith("error: unknown pass sort")


@pytest.mark.parametrize("text, number", [("1M", 10**6), ("2.5K", 2500), ("17", 17), ("8B", 8 * 10**9)])
def test_sizes_are_read(text, number):
  from experiments.bench.kernels import size_of

  assert size_of(text) == number
