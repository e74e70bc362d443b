"""The launchers: what they start, what they print, and how a job ends after a SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import jobs
import optax
import pytest
from toy import TOY, toy_data
from toy_trained import equal

from launch import job, pod, sweep, xm
from unlearnjax.core import Run, Stopped, ask_to_stop, forget_to_stop
from unlearnjax.training import Recipe, train

PYTHON = [sys.executable, "-m"]


def started(*arguments, **kwargs):
  env = {**os.environ, "PYTHONPATH": str(jobs.ROOT), "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
  pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  return subprocess.Popen([*PYTHON, *arguments], env=env, cwd=jobs.ROOT, **pipe, **kwargs)


def printed(module, capsys, *arguments):
  """What a launcher prints on a command line, in this process."""
  from absl import flags
  from absl.testing import flagsaver

  with flagsaver.flagsaver():
    left = job.parse(["launcher", *arguments])
    assert flags.FLAGS.job
    module.main(left)
  return capsys.readouterr().out


def test_a_fit_that_is_asked_to_stop_saves_and_goes_on_bit_by_bit(tmp_path):
  import jax

  recipe, key = Recipe(optax.adam(0.03), epochs=60, batch_size=8), jax.random.key(0)
  whole = train(TOY, toy_data(), recipe, key=key)
  ask_to_stop(signal.SIGTERM, None)
  try:
    with pytest.raises(Stopped, match="asked to stop at step 16 of 480, which is saved"):
      train(TOY, toy_data(), recipe, key=key, run=Run(out=tmp_path))
    with pytest.raises(Stopped, match="which is lost: the run has no output directory"):
      train(TOY, toy_data(), recipe, key=key)
  finally:
    forget_to_stop()
  run = Run(out=tmp_path)
  again = train(TOY, toy_data(), recipe, key=key, run=run)
  assert equal(whole.params, again.params) and run.cost.steps == 480


def test_a_job_must_exist():
  assert job.checked("experiments.classify.run")
  for name in ("", "experiments.nothing.run", "nothing"):
    with pytest.raises(ValueError, match="--job must name a module such as experiments.classify.run"):
      job.checked(name)


def test_the_cluster_comes_from_flags_then_from_the_environment(monkeypatch):
  from absl import flags
  from absl.testing import flagsaver

  with flagsaver.flagsaver():
    flags.FLAGS(["pod"])
    assert pod.cluster() == {}
    for name, value in (("COORDINATOR", "a:1"), ("PROCESSES", "4"), ("PROCESS", "3")):
      monkeypatch.setenv(f"UNLEARNJAX_{name}", value)
    assert pod.cluster() == {"coordinator_address": "a:1", "num_processes": 4, "process_id": 3}
    flags.FLAGS(["pod", "--process=1"])
    assert pod.cluster()["process_id"] == 1
    flags.FLAGS(["pod", "--process=4"])
    with pytest.raises(ValueError, match="--process must be in \\[0, 4\\), got 4"):
      pod.cluster()
    monkeypatch.delenv("UNLEARNJAX_COORDINATOR")
    with pytest.raises(ValueError, match="--coordinator, --processes and --process go together"):
      pod.cluster()


def test_a_sweep_prints_one_command_a_combination(capsys):
  out = printed(
    sweep,
    capsys,
    "--job=experiments.classify.run",
    "--grid=forget=class:1\\,2,random:0.1",
    "--grid=epochs=1,2",
    "--print_only",
    "--",
    "--methods=ssd",
  )
  lines = out.splitlines()
  assert len(lines) == 4 and all(line.endswith("--methods=ssd") for line in lines)
  assert "--forget=class:1,2 --epochs=1" in lines[0] and "--forget=random:0.1 --epochs=2" in lines[3]
  assert len({line.split("--out=")[1].split()[0] for line in lines}) == 4
  with pytest.raises(ValueError, match="--grid must look like epochs=10,20 and name each flag once"):
    sweep.commands("experiments.classify.run", "out", ["epochs"], [])


def test_a_run_of_a_sweep_that_is_done_is_not_started_again(tmp_path):
  command = [sys.executable, "-c", "print('once')"]
  assert [sweep.execute("a", command, tmp_path) for _ in range(2)] == [0, 0]
  assert (tmp_path / "a" / "log.txt").read_text() == "once\n"
  bad = [sys.executable, "-c", "raise SystemExit(3)"]
  assert sweep.execute("b", bad, tmp_path) == 3
  assert json.loads((tmp_path / "b" / "sweep.json").read_text())["code"] == 3


@pytest.mark.parametrize(
  "on, slice_, words",
  [
    ("queued", "v5e-16", ("queued-resources create", "--accelerator-type=v5litepod-16", "--worker=all", "launch.pod")),
    ("queued", "v5p-8", ("--accelerator-type=v5p-16", "--runtime-version=v2-alpha-tpuv5")),
    (
      "gke",
      "v6e-16",
      ("kind: JobSet", "parallelism: 4", "tpu-v6e-slice", "gke-tpu-topology: 4x4", "google.com/tpu: 4"),
    ),
    ("vertex", "v5e-8", ("machineType: ct5lp-hightpu-8t", "tpuTopology: 2x4", "imageUri: IMAGE")),
  ],
)
def test_what_starts_a_pod_is_printed(on, slice_, words, capsys):
  command = (
    "--job=experiments.classify.run",
    f"--on={on}",
    f"--tpu={slice_}",
    "--print_only",
    "--",
    "--out=gs://b/a b",
  )
  out = printed(xm, capsys, *command)
  for word in (*words, "--job=experiments.classify.run", "--devices=0"):
    assert word in out
  if on in ("gke", "vertex"):
    yaml = pytest.importorskip("yaml")
    spec = yaml.safe_load(out)
    assert "'--out=gs://b/a b'" in json.dumps(spec)


def test_machines_are_not_started(capsys):
  with pytest.raises(SystemExit) as end:
    printed(xm, capsys, "--job=experiments.classify.run", "--on=gke")
  assert end.value.code == 2 and "machines that cost money" in capsys.readouterr().err
  for name in ("v4-8", "v5e", "v5e-7"):
    with pytest.raises(ValueError, match="--tpu must be one of v5e, v5p, v6e and a number of chips"):
      xm.tpu(name)


def test_a_sweep_by_xmanager_lists_its_jobs(capsys):
  out = printed(
    xm, capsys, "--job=experiments.classify.run", "--root=r", "--grid=learning_rate=0.1,0.2", "--print_only"
  )
  assert [line.split()[3:] for line in out.splitlines()] == [
    [f"--out=r/learning_rate={rate}", f"--learning_rate={rate}"] for rate in (0.1, 0.2)
  ]
  with pytest.raises(SystemExit):
    printed(xm, capsys, "--job=experiments.classify.run", "--grid=epochs=1,2", "--on=gke", "--print_only")
  assert "--grid is for --on=local" in capsys.readouterr().err


@pytest.mark.slow
def test_xmanager_runs_two_learning_rates_and_fails_with_the_one_that_fails(tmp_path):
  pytest.importorskip("xmanager", reason="XManager, of the extra launch, is not installed")
  common = ("--", "--methods=fine_tune", "--epochs=1")
  grid = f"--root={tmp_path}", "--grid=learning_rate=0.1,-1"
  process = started("launch.xm", "--job=experiments.classify.run", *grid, *common)
  out, err = process.communicate(timeout=300)
  assert process.returncode == 1 and "Traceback" not in err, err
  assert "learning_rate=0.1  done" in out and "learning_rate=-1  failed" in out
  assert json.loads((tmp_path / "learning_rate=0.1" / "results.json").read_text())["rows"]
  assert not (tmp_path / "learning_rate=-1" / "results.json").exists()


@pytest.mark.slow
def test_a_job_that_gets_a_sigterm_saves_and_goes_on_on_another_mesh(tmp_path):
  rest = ("--", f"--out={tmp_path}", "--methods=fine_tune", "--epochs=400")
  process = started("launch.local", "--job=experiments.classify.run", *rest)
  original = tmp_path / "checkpoints" / "seed0" / "original"
  deadline = time.time() + 300
  while not (tmp_path / "config.json").exists() and time.time() < deadline:
    time.sleep(0.2)
  time.sleep(2)  # somewhere in the training of the original, most likely
  process.send_signal(signal.SIGTERM)
  code, _, err = jobs.finish(process)
  assert code == job.PREEMPTED and "the same command goes on" in err
  assert original.exists()
  rest = ("--", *rest[1:], "--devices=0", "--methods=fine_tune")
  code, out, err = jobs.finish(started("launch.local", "--job=experiments.classify.run", "--fake_devices=2", *rest))
  assert code == 0, err
  assert "fine_tune" in out and (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_two_processes_of_four_devices_stop_together_and_one_of_two_goes_on_alone(tmp_path):
  import importlib.util
  import socket

  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  what = ("--methods=fine_tune", "--epochs=400", "--train_size=300", "--test_size=100", "--checkpoint_every=100")
  writes = importlib.util.find_spec("tensorboardX") is not None
  rest = ("--", f"--out={tmp_path}", *what, "--devices=0", f"--tensorboard={writes}")
  place = ("launch.pod", "--job=experiments.classify.run", f"--coordinator=localhost:{port}", "--processes=2")
  both = [started(*place, f"--process={i}", "--fake_devices=4", *rest) for i in range(2)]
  steps = tmp_path / "checkpoints" / "seed0" / "original" / "train"
  saved = lambda: sorted(int(p.name) for p in steps.glob("*") if p.name.isdigit())
  deadline = time.time() + 300
  while not saved() and time.time() < deadline and all(p.poll() is None for p in both):
    time.sleep(0.2)
  both[1].send_signal(signal.SIGTERM)  # one is told, and both stop
  ends = [jobs.finish(p, timeout=300) for p in both]
  assert [code for code, _, _ in ends] == [job.PREEMPTED] * 2, ends
  assert 0 < max(saved()) < 2000
  alone = ("launch.local", "--job=experiments.classify.run", "--fake_devices=2")
  code, out, err = jobs.finish(started(*alone, *rest))
  assert code == 0 and "fine_tune" in out, err
  files = list((tmp_path / "tensorboard" / "seed0" / "original" / "train").glob("events.*"))
  assert len(files) == (2 if writes else 0)  # the first process of two, and the one that went on
