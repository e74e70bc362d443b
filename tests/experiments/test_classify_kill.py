"""`python -m experiments.classify.run` killed in the middle: the same command ends as if nothing had happened."""

from __future__ import annotations

import json
import pathlib
import random
import signal
import time

import jax
import jobs
import pytest
from jax.experimental.compilation_cache import compilation_cache

from experiments.classify import run

JOB = "experiments.classify.run"
TINY = ("--train_size=200", "--test_size=60", "--epochs=2", "--checkpoint_every=5")
WHOLE = ("--train_size=500", "--test_size=60", "--epochs=3", "--checkpoint_every=5")

CASES = {  # method: what must be there before the kill, below the directory of its checkpoints
  "fine_tune": "seed0/*/fine_tune/fit/*",  # one fit
  "salun": "seed0/*/salun/fit/*",  # a statistic, then a fit that reads it
  "stochastic_teacher": "seed0/*/stochastic_teacher/rebuild/*",  # the second of two fits
  "ssd": "seed0/*/ssd",  # statistics and an edit
  "sisa": "seed0/*/sisa_learn/*/shard2_slice0/*",  # many fits before the request
}


def kill_inside(out: pathlib.Path, pattern: str, *arguments: str, patience: float = 0.3, timeout: float = 900) -> None:
  """Starts the job, waits until something below its checkpoints matches, and a random moment; kills it."""
  process = jobs.start(JOB, f"--out={out}", *arguments)
  there = lambda: any("tmp" not in path.name for path in (out / "checkpoints").glob(pattern))
  try:
    end = time.monotonic() + timeout
    while not there():
      assert process.poll() is None, process.communicate()
      assert time.monotonic() < end, "it never came that far"
      time.sleep(0.002)
    time.sleep(random.uniform(0, patience))
  finally:
    process.kill()
    process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def half_written(out: pathlib.Path) -> list[str]:
  """Results that are there but cannot be read: there must never be any."""
  bad = []
  for path in [*(out / "rows").glob("*.json"), *out.glob("*.json")]:
    try:
      json.loads(path.read_text())
    except ValueError:
      bad.append(str(path))
  return bad


@pytest.fixture
def compiled_once(tmp_path, monkeypatch):
  """The process that is killed and the runs of this one find each other's programs on disk."""
  options = {"jax_compilation_cache_dir": str(tmp_path / "programs"), "jax_persistent_cache_min_compile_time_secs": 0.0}
  before = {name: getattr(jax.config, name) for name in options}
  for name, value in options.items():
    monkeypatch.setenv(name.upper(), str(value))
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def test_killed_inside_a_fit(tmp_path, compiled_once):
  arguments = ("--methods=fine_tune", *TINY)
  kill_inside(tmp_path / "killed", "seed0/*/fine_tune/fit/*", *arguments, patience=0.02)
  assert not (tmp_path / "killed" / "rows" / "fine_tune-0.json").exists()
  assert not half_written(tmp_path / "killed")
  for out in ("killed", "whole"):
    assert jobs.main(run, f"--out={tmp_path / out}", *arguments) == 0
  assert jobs.rows(tmp_path / "killed") == jobs.rows(tmp_path / "whole")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """Rows of all methods from a run that nobody disturbed."""
  out = tmp_path_factory.mktemp("whole") / "out"
  code, _, err = jobs.finish(jobs.start(JOB, f"--out={out}", f"--methods={','.join(CASES)}", *WHOLE))
  assert code == 0, err
  return jobs.rows(out)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "pattern"), CASES.items(), ids=CASES)
def test_killed_inside_every_kind_of_method(tmp_path, whole, method, pattern):
  arguments = (f"--methods={method}", *WHOLE)
  kill_inside(tmp_path / "out", pattern, *arguments)
  assert not half_written(tmp_path / "out")
  code, _, err = jobs.finish(jobs.start(JOB, f"--out={tmp_path / 'out'}", *arguments))
  assert code == 0, err
  assert jobs.rows(tmp_path / "out") == {name: whole[name] for name in ("original", "retrain", method)}


@pytest.mark.slow
def test_killed_again_and_again_while_seeds_are_trained_at_once(tmp_path):
  arguments = ("--methods=salun", "--seeds=2", *WHOLE)
  for pattern in ("seeds0-1/original/train/*", "seeds0-1/retrain/train/*", "seed1/*/salun/fit/*"):
    kill_inside(tmp_path / "killed", pattern, *arguments)
    assert not half_written(tmp_path / "killed")
  for out in ("killed", "whole"):
    assert jobs.main(run, f"--out={tmp_path / out}", *arguments) == 0
  for seed in (0, 1):
    assert jobs.rows(tmp_path / "killed", seed) == jobs.rows(tmp_path / "whole", seed) != {}
