"""The command line that the benchmarks of two sides share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from absl import app, flags, logging

from experiments.bench import measure

FLAGS = flags.FLAGS
Make = Callable[[], measure.Workload]


def define_flags() -> None:
  """What these benchmarks are asked, once one of them is run: other jobs have flags of the same names."""
  flags.DEFINE_string("out", "runs/bench", "Output directory.")
  flags.DEFINE_string("only", "", "Names of workloads, separated by commas; all by default.")
  flags.DEFINE_integer("repeats", 3, "Measurements of each side.", lower_bound=1)
  flags.DEFINE_enum("side", "both", ["both", "ours", "theirs"], "Runs one side only, to read its peak memory.")


def chosen(argv: Sequence[str], known: Iterable[str], what: str = "workload") -> list[str]:
  """The names that --only asks for, all of them by default; exits with one line and code 2 for an unknown one.

  Args:
    argv: of `main`; nothing but the program may be left in it.
    known: every name.
    what: they are names of.
  """
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  known = list(known)
  names = [n for n in FLAGS.only.split(",") if n] or known
  unknown = sorted(set(names) - set(known))
  if unknown:
    print(f"error: unknown {what} {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
    sys.exit(2)
  return names


def run(
  argv: Sequence[str], module: str, workloads: Mapping[str, Callable[[], measure.Workload]], peak: bool
) -> list[dict]:
  """Measures the workloads that are asked for and writes `bench.json`.

  Args:
    argv: of `main`.
    module: of the benchmark, as it is called.
    workloads: name -> a function that makes the workload.
    peak: whether to read the memory of each side in a process of its own.
  """
  names = chosen(argv, workloads)
  if FLAGS.side != "both":
    for name in names:
      measure.run_side(workloads[name](), FLAGS.side)
    return []
  rows = []
  print(measure.HEAD)
  for name in names:
    memory = {"peak": measure.separate_peak(module)} if peak else {}
    rows.append(measure.compare(workloads[name](), FLAGS.repeats, **memory))
    print(measure.line(rows[-1]), flush=True)
  measure.write(FLAGS.out, module, rows)
  return rows
