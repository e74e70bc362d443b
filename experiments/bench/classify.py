"""Steps per second of training and forgetting, beside an equivalent plain PyTorch loop.

  python -m experiments.bench.classify --out=runs/bench

Both sides run in one process on the same random data, one after the other, `--repeats` times in turn; a row holds the
median ratio. Without PyTorch (extra `parity`) the ratios are missing and our own figures stand alone. Peak memory is
that of a fresh process in which both sides are built and one is run.
"""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys
from collections.abc import Callable

import numpy as np
from absl import app, flags, logging

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "runs/bench", "Output directory.")
flags.DEFINE_string("only", "", "Names of workloads, separated by commas; all by default.")
flags.DEFINE_integer("repeats", 3, "Measurements of each side.", lower_bound=1)
flags.DEFINE_enum("side", "both", ["both", "ours", "theirs"], "Runs one side only, to read its peak memory.")


def workloads() -> dict[str, Callable]:
  """Name -> a function that makes the workload; PyTorch's networks are the same layers in the same order."""
  from experiments.bench import workloads as w

  try:
    from experiments.bench import peers
  except ImportError:
    peers = None
  net = (lambda make, *args: make(*args)) if peers else (lambda *_: None)
  mlp = lambda: net(peers and peers.mlp, 64, (256, 128))
  conv = lambda: net(peers and peers.convnet, 1, 28, (16, 32, 32), 128)
  res = lambda: net(peers and peers.resnet8, 3, 16)
  digits, fashion, cifar = (8, 8, 1), (28, 28, 1), (32, 32, 3)
  dense = {"widths": (256, 128)}
  convolutions = {"widths": (16, 32, 32), "dense": 128}
  return {
    "mlp_train_64": lambda: w.training("mlp_train_64", "mlp", digits, 1437, 64, 4000, mlp(), **dense),
    "mlp_salun_64": lambda: w.salun("mlp_salun_64", "mlp", digits, 1437, 64, 2000, mlp(), **dense),
    "mlp_scrub_64": lambda: w.scrub("mlp_scrub_64", "mlp", digits, 1437, 64, 2000, mlp(), **dense),
    "convnet_train_256": lambda: w.training(
      "convnet_train_256", "convnet", fashion, 10_240, 256, 40, conv(), **convolutions
    ),
    "convnet_salun_256": lambda: w.salun(
      "convnet_salun_256", "convnet", fashion, 10_240, 256, 20, conv(), **convolutions
    ),
    "convnet_scrub_256": lambda: w.scrub(
      "convnet_scrub_256", "convnet", fashion, 10_240, 256, 30, conv(), **convolutions
    ),
    "resnet8_train_256": lambda: w.training("resnet8_train_256", "resnet8", cifar, 2_560, 256, 10, res(), width=16),
  }


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  known = workloads()
  names = [n for n in FLAGS.only.split(",") if n] or list(known)
  unknown = sorted(set(names) - set(known))
  if unknown:
    print(f"error: unknown workload {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
    sys.exit(2)
  if FLAGS.side != "both":
    for name in names:
      one_side(known[name](), FLAGS.side)
    print(json.dumps({"peak_mib": peak_mib()}))
    return
  rows = []
  print(f"{'workload':<20}{'ours, steps/s':>15}{'PyTorch':>12}{'ratio':>8}{'ours, MiB':>12}{'PyTorch':>10}")
  for name in names:
    rows.append(measured(name, known[name]()))
    row = rows[-1]
    show = lambda key, form, row=row: format(row[key], form) if row[key] is not None else "-"
    print(
      f"{name:<20}{row['ours']:>15.1f}{show('theirs', '.1f'):>12}{show('ratio', '.2f'):>8}"
      f"{show('ours_mib', '.0f'):>12}{show('theirs_mib', '.0f'):>10}",
      flush=True,
    )
  write(rows)


def measured(name: str, workload) -> dict:
  """Median steps per second of both sides, taken in turn, and their ratio."""
  speeds = {"ours": [], "theirs": []}
  for _ in range(FLAGS.repeats):
    for side in speeds:
      seconds = getattr(workload, side)
      if seconds is not None:
        speeds[side].append(workload.steps / seconds(workload.steps))
  ours = float(np.median(speeds["ours"]))
  theirs = float(np.median(speeds["theirs"])) if speeds["theirs"] else None
  return {
    "method": name,
    "steps": workload.steps,
    "ours": ours,
    "theirs": theirs,
    "ratio": float(np.median(np.divide(speeds["ours"], speeds["theirs"]))) if theirs else None,
    "ours_mib": separate_peak(name, "ours"),
    "theirs_mib": separate_peak(name, "theirs") if theirs else None,
  }


def one_side(workload, side: str) -> None:
  seconds = getattr(workload, side)
  if seconds is not None:
    seconds(workload.steps)


def separate_peak(name: str, side: str) -> float | None:
  """Peak resident memory of a fresh process that runs one side."""
  command = [sys.executable, "-m", "experiments.bench.classify", f"--only={name}", f"--side={side}"]
  done = subprocess.run(command, capture_output=True, text=True)
  lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
  return json.loads(lines[-1])["peak_mib"] if lines else None


def peak_mib() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(rows: list[dict]) -> None:
  """`bench.json` beside nothing else: rows, versions, the command."""
  from unlearnjax import report

  out = pathlib.Path(FLAGS.out)
  content = {"command": report.command_line(sys.argv[1:], "experiments.bench.classify"), "versions": report.versions()}
  report.write_text(out / "bench.json", json.dumps({**content, "rows": rows}, indent=1) + "\n")
  print(f"\n{out / 'bench.json'}")


if __name__ == "__main__":
  app.run(main)
