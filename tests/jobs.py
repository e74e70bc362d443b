"""Running jobs as a user does, in this process or in one of their own, and looking at what they left."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from absl import flags
from absl.testing import flagsaver

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main(module, *arguments: str) -> int:
  """Runs `module.main` on a command line inside this process; the exit code."""
  with flagsaver.flagsaver():
    left = flags.FLAGS(["job", *arguments])
    try:
      module.main(left)
    except SystemExit as end:
      return end.code
  return 0


def start(name: str, *arguments: str) -> subprocess.Popen:
  """Starts `python -m name` as a process of its own."""
  env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
  command = [sys.executable, "-m", name, *arguments]
  return subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen, timeout: float = 900) -> tuple[int, str, str]:
  """Waits for a process: exit code, standard output, standard error."""
  try:
    out, err = process.communicate(timeout=timeout)
  finally:
    process.kill()
  return process.returncode, out, err


def contents(directory: pathlib.Path) -> dict[str, bytes]:
  """Every file below a directory, byte by byte."""
  return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def rows(directory: pathlib.Path, seed: int = 0) -> dict[str, dict]:
  """Rows of a seed in `results.json` by method, without what depends on the clock or the machine."""
  found = json.loads((directory / "results.json").read_text())["rows"]
  unsteady = ("seconds", "compile_seconds", "peak_bytes")
  return {row["method"]: {k: v for k, v in row.items() if k not in unsteady} for row in found if row["seed"] == seed}
