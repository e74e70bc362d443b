"""Run a job once for every combination of values, a few at a time; a run that is done is not started again.

python -m launch.sweep --job=experiments.classify.run --root=runs/sweep --grid=dataset=digits,mnist --grid=epochs=10,20
python -m launch.sweep ... --print_only        shows the commands, for another scheduler
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence

from absl import app, flags

from launch import job

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(job)
flags.DEFINE_string("root", "runs/sweep", "Directory of all runs, one below it each.")
flags.DEFINE_multi_string("grid", [], "flag=value,value,... of the job; repeated flags multiply.")
flags.DEFINE_integer("parallel", 1, "Runs at a time.", lower_bound=1)


def commands(name: str, out: str, grid: Sequence[str], shared: Sequence[str]) -> dict[str, list[str]]:
  """The command of every run by the name of its directory.

  Args:
    name: module of the job.
    out: directory of all runs.
    grid: `flag=value,value`; a value that holds a comma is written with `\\,`.
    shared: flags of all runs.

  Raises:
    ValueError: a grid of another form, or a flag that occurs twice.

  Example:
    >>> found = commands("experiments.classify.run", "runs/s", ["epochs=1,2", "dataset=digits"], [])
    >>> list(found)
    ['epochs=1,dataset=digits', 'epochs=2,dataset=digits']
    >>> found["epochs=1,dataset=digits"][3:]
    ['--out=runs/s/epochs=1,dataset=digits', '--epochs=1', '--dataset=digits']
  """
  axes: dict[str, list[str]] = {}
  for item in grid:
    flag, mark, values = item.partition("=")
    if not mark or not re.fullmatch(r"\w+", flag) or flag in axes or not values:
      raise ValueError(f"--grid must look like epochs=10,20 and name each flag once, got {item!r}")
    axes[flag] = [v.replace("\\,", ",") for v in re.split(r"(?<!\\),", values)]
  found = {}
  for values in itertools.product(*axes.values()):
    chosen = dict(zip(axes, values))
    place = re.sub(r"[^\w=,.+-]+", "_", ",".join(f"{k}={v}" for k, v in chosen.items())) or "run"
    options = [f"--{k}={v}" for k, v in chosen.items()]
    found[place] = [sys.executable, "-m", name, f"--out={pathlib.PurePosixPath(out) / place}", *options, *shared]
  return found


def execute(place: str, command: Sequence[str], out: pathlib.Path) -> int:
  """Runs one command with its output in `out/place/log.txt`; the exit code. What ended well before is left alone."""
  directory = out / place
  done = directory / "sweep.json"
  if done.exists() and json.loads(done.read_text()) == {"command": list(command), "code": 0}:
    return 0
  directory.mkdir(parents=True, exist_ok=True)
  with open(directory / "log.txt", "a") as log:
    code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
  done.write_text(json.dumps({"command": list(command), "code": code}))
  return code


def failure(directory: pathlib.Path, code: int) -> str:
  """What a run that failed said last, the pointer to its help apart."""
  lines = [line.strip() for line in (directory / "log.txt").read_text(errors="replace").splitlines()]
  last = next((line for line in reversed(lines) if line and not line.startswith("Pass --help")), "nothing")
  return f"failed with code {code}; the end of {directory / 'log.txt'}: {last}"


def main(argv: list[str]) -> None:
  """Runs or prints all commands; the exit code is 1 where one of them failed."""
  mine, shared = job.split(argv)
  try:
    if len(mine) > 1:
      raise ValueError(f"unexpected argument {mine[1]!r}; the job's flags come after --")
    found = commands(job.checked(FLAGS.job), FLAGS.root, FLAGS.grid, shared)
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  if FLAGS.print_only:
    print("\n".join(shlex.join(command) for command in found.values()))
    return
  failed = 0
  with concurrent.futures.ThreadPoolExecutor(FLAGS.parallel) as pool:
    running = {pool.submit(execute, place, c, pathlib.Path(FLAGS.root)): place for place, c in found.items()}
    for future in concurrent.futures.as_completed(running):
      place, code = running[future], future.result()
      failed += code != 0
      print(f"{place}  {'done' if code == 0 else failure(pathlib.Path(FLAGS.root) / place, code)}", flush=True)
  sys.exit(1 if failed else 0)


if __name__ == "__main__":
  app.run(main, flags_parser=job.parse)
