"""The commands that the pages print run, with less of everything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from printed import ROOT, commands

from unlearnjax.data import available

JOB = ("--epochs=1", "--methods=fine_tune")
SMALL = {
  "experiments.classify.run": (*JOB, "--seeds=1", "--train_size=500", "--test_size=200"),
  "experiments.classify.strong": (*JOB, "--models=4"),
  "experiments.continual.run": (*JOB, "--tasks=2"),
  "experiments.corrective.run": ("--epochs=1", "--methods=ssd"),
  "experiments.language.run": ("--config=tiny", "--methods=npo"),
  "experiments.language.skills": ("--config=tiny", "--methods=random_labels_100"),
  "experiments.language.memory": ("--model=gpt2", "--layers=1", "--length=8", "--batch=2"),
  "experiments.regression.run": JOB,
  "experiments.serve.run": ("--methods=ssd",),
  "experiments.bench.classify": ("--only=mlp_train_64", "--repeats=1", "--side=ours"),
  "experiments.bench.continual": ("--only=er_10", "--repeats=1", "--side=ours"),
  "experiments.bench.language": ("--only=0.6m_npo", "--size=0.6m", "--repeats=1", "--side=ours"),
  "experiments.bench.kernels": ("--sizes=1M", "--only=mask", "--repeats=1"),
}
RECORDS = ("RESULTS.md", "results_notes.md", "CONTRIBUTING.md")  # of runs that took hours, or with a name to fill in


def small(module: str, words: tuple[str, ...]) -> tuple[str, ...]:
  """A command that says the same of what matters and does less."""
  job = "experiments.classify.run" if module.startswith("launch.") else module
  less = SMALL.get(job, ())
  named = {flag.split("=")[0] for flag in less} | {"--out", "--root"}
  words = tuple("--job=experiments.classify.run" if word == "--job=..." else word for word in words)
  kept = tuple(word for word in words if word.split("=")[0] not in named)
  if module == "launch.sweep" or "--grid" in " ".join(kept):
    kept = tuple(word.replace("epochs=10,20", "epochs=1,2") for word in kept)
    return (*kept, *(() if "--" in kept else ("--",)), *(flag for flag in less if "epochs" not in flag))
  return (*kept, *less)


def cases() -> list:
  found = {}
  for page, module, words in commands():
    if page not in RECORDS and module != "experiments.results" and words[:2] != ("ledger", "verify"):
      found.setdefault((module, small(module, words)), page)
  return [pytest.param(*case, id=" ".join([page, case[0], *case[1][:2]])) for case, page in found.items()]


def _at_hand(name: str) -> bool:
  return available()[name].startswith("files")


@pytest.mark.slow
@pytest.mark.parametrize(("module", "words"), cases())
def test_a_printed_command_runs(module, words, tmp_path):
  for name in ("fashion_mnist", "cifar10"):
    if f"--dataset={name}" in words and not _at_hand(name):
      pytest.skip(f"{name} is not at hand (UNLEARNJAX_DATA)")
  if module == "launch.xm" and "--print_only" not in words:
    pytest.importorskip("xmanager", reason="XManager, of the extra launch, is not installed")
  if module == "launch.pod":
    with socket.socket() as free:
      free.bind(("localhost", 0))
      port = free.getsockname()[1]
    words = (f"--coordinator=localhost:{port}", "--processes=1", "--process=0", *words)
  if module != "unlearnjax" and "--print_only" not in words:
    flag = "--root" if module == "launch.sweep" or "--grid" in " ".join(words) else "--out"
    flag = "--memory_out" if module.endswith("memory") else flag
    at = words.index("--") if flag == "--root" else len(words)
    words = (*words[:at], f"{flag}={tmp_path / 'run'}", *words[at:])
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
  command = [sys.executable, "-m", module, *words]
  done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0 and done.stdout.strip(), done.stderr[-3000:]
