"""The benchmarks of continual learning and of language measure, and say what they cannot do."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def measured(module: str, out: pathlib.Path, *options: str) -> dict:
  """The only row of a run of one workload."""
  command = [sys.executable, "-m", module, "--repeats=1", f"--out={out}", *options]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr
  (row,) = json.loads((out / "bench.json").read_text())["rows"]
  return row


@pytest.mark.slow
@pytest.mark.parametrize(
  ("module", "options"),
  [
    ("experiments.bench.continual", ("--only=gem5_10", "--memory=4")),
    ("experiments.bench.language", ("--only=0.6m_rmu", "--size=0.6m")),
  ],
)
def test_a_workload_is_measured(module, options, tmp_path):
  row = measured(module, tmp_path, *options)
  assert row["ours"] > 10
  assert (row["ratio"] is None) == (row["theirs"] is None)


def test_a_billion_parameters_are_refused_without_a_gpu():
  from experiments.bench.language import refusal

  assert "needs a GPU, and JAX found cpu" in refusal(("25m", "1b"), "cpu")
  assert refusal(("1b",), "gpu") is None and refusal(("0.6m", "25m"), "cpu") is None
  assert "got '2m'" in refusal(("2m",), "cpu")


def test_utilization_counts_six_operations_a_parameter_and_token():
  from experiments.bench.language import utilization

  assert utilization(1000.0, 10**9, 12e12) == pytest.approx(0.5)


@pytest.mark.slow
def test_the_peers_projection_is_that_of_gem():
  pytest.importorskip("torch")
  import jax.numpy as jnp
  import numpy as np

  from experiments.bench.learner_peers import projection
  from unlearnjax import combine

  rng = np.random.default_rng(0)
  past, g = rng.normal(size=(5, 40)).astype(np.float32), rng.normal(size=40).astype(np.float32)
  g -= 2 * past[0]
  found, _ = combine.gem(margin=0.5, ridge=1e-3).update({"current": jnp.asarray(g), "memory": jnp.asarray(past)}, (), g)
  np.testing.assert_allclose(projection(g, past), found, rtol=1e-3, atol=1e-3)


def test_steps_beyond_those_asked_for_are_counted():
  from experiments.bench import measure, workloads

  assert workloads.salun("s", "mlp", (8, 8, 1), 400, 64, 2).ours()(2) == 6  # an epoch of 360 rows
  slow = lambda: lambda steps: time.sleep(0.05)
  rushed = lambda: lambda steps: time.sleep(0.05) or 4 * steps
  row = measure.compare(measure.Workload("w", 2, rushed, slow), 1)
  assert 2 < row["ratio"] < 6 and row["ours"] > 2 * row["theirs"]
