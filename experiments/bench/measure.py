"""Two sides of the same work, measured in turn in one process."""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Workload(NamedTuple):
  """One comparison.

  Attributes:
    name: of the row.
    steps: units of work in one measurement: updates, tokens.
    ours: builds `run(steps)`, compiled and warm. What ends with whole epochs returns how many steps it took.
    theirs: the same in PyTorch, or None where it is not installed.
  """

  name: str
  steps: int
  ours: Callable[[], Callable[[int], Any]]
  theirs: Callable[[], Callable[[int], Any]] | None


def compare(workload: Workload, repeats: int, peak: Callable[[str, str], float | None] = lambda name, side: None):
  """A row: steps per second of both sides, median over `repeats` measurements taken in turn, and their ratios.

  `ratio` compares wall time, `cpu_ratio` the processor time of all threads: on busy cores the second is the fairer one.
  `peak(name, side)` gives the memory of a process of its own, in MiB.
  """
  sides = {"ours": workload.ours(), "theirs": workload.theirs() if workload.theirs else None}
  taken = {name: [] for name, run in sides.items() if run}
  for _ in range(repeats):
    for name in taken:
      wall, cpu = time.perf_counter(), time.process_time()
      done = sides[name](workload.steps) or workload.steps
      taken[name].append(np.array([time.perf_counter() - wall, time.process_time() - cpu]) / done)
  row = {"method": workload.name, "steps": workload.steps, "ours": None, "theirs": None, "ratio": None}
  for name, times in taken.items():
    row[name] = 1 / float(np.median([wall for wall, _ in times]))
    row[f"{name}_mib"] = peak(workload.name, name)
  if "theirs" in taken:
    ratios = np.divide(taken["theirs"], taken["ours"])
    row["ratio"], row["cpu_ratio"] = (float(v) for v in np.median(ratios, axis=0))
  return row


HEAD = f"{'workload':<24}{'ours, /s':>12}{'PyTorch':>12}{'ratio':>8}{'CPU ratio':>11}{'ours, MiB':>11}{'PyTorch':>9}"


def line(row: dict) -> str:
  """A row of the table below `HEAD`."""
  show = lambda key, form: format(row[key], form) if row.get(key) is not None else "-"
  return (
    f"{row['method']:<24}{show('ours', '.1f'):>12}{show('theirs', '.1f'):>12}{show('ratio', '.2f'):>8}"
    f"{show('cpu_ratio', '.2f'):>11}{show('ours_mib', '.0f'):>11}{show('theirs_mib', '.0f'):>9}"
  )


def separate_peak(module: str) -> Callable[[str, str], float | None]:
  """Peak resident memory, in MiB, of a fresh process of `module` that builds and runs one side of a workload."""

  def peak(name: str, side: str) -> float | None:
    command = [sys.executable, "-m", module, f"--only={name}", f"--side={side}"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [text for text in done.stdout.splitlines() if text.startswith("{")]
    return json.loads(lines[-1])["peak_mib"] if lines else None

  return peak


def run_side(workload: Workload, side: str) -> None:
  """Builds and runs one side, and prints the peak memory of this process."""
  build = getattr(workload, side)
  if build is not None:
    build()(workload.steps)
  print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def write(out: str, module: str, rows: list[dict]) -> None:
  """`bench.json`: the command, versions and rows."""
  from unlearnjax import report

  content = {"command": report.command_line(sys.argv[1:], module), "versions": report.versions(), "rows": rows}
  path = pathlib.Path(out) / "bench.json"
  report.write_text(path, json.dumps(content, indent=1) + "\n")
  print(f"\n{path}")
