"""Running a job of `experiments` inside this process, so that a SIGTERM saves and ends it cleanly."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from collections.abc import Sequence

from absl import flags

flags.DEFINE_string("job", "", "Module of the job; its own flags come after --.")
flags.DEFINE_bool("print_only", False, "Prints what would be started, and starts nothing.")

PREEMPTED = 130
"""Exit code of a job that was asked to stop and saved its state; the same command goes on from there."""


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """A command line before and after `--`: the launcher's part and the job's.

  Example:
    >>> split(["pod", "--job=experiments.classify.run", "--", "--out=runs/a"])
    (['pod', '--job=experiments.classify.run'], ['--out=runs/a'])
  """
  argv = list(argv)
  place = argv.index("--") if "--" in argv else len(argv)
  return argv[:place], argv[place + 1 :]


def parse(argv: list[str]) -> list[str]:
  """The launcher's flags; what follows `--` is left for the job. A wrong flag is one line and exit code 2."""
  mine, theirs = split(argv)
  try:
    return [*flags.FLAGS(mine), *(["--", *theirs] if theirs else [])]
  except flags.Error as error:
    print(f"error: {' '.join(str(error).split())}; the job's flags come after --", file=sys.stderr)
    sys.exit(2)


def checked(name: str) -> str:
  """The name of a job's module.

  Raises:
    ValueError: there is no such module.
  """
  try:
    found = importlib.util.find_spec(name) if name else None
  except ModuleNotFoundError:
    found = None
  if found is None:
    raise ValueError(f"--job must name a module such as experiments.classify.run, got {name!r}")
  return name


def run(name: str, arguments: Sequence[str], *, handle: bool = True) -> int:
  """Runs `module.main` with a command line of its own; the exit code.

  A SIGTERM lets the running fit save after its present chunk; the code is then `PREEMPTED`.

  Args:
    name: of the module.
    arguments: its flags.
    handle: takes the signal; False leaves it to the runtime of several processes.
  """
  from unlearnjax.core import ask_to_stop, forget_to_stop

  module = importlib.import_module(checked(name))
  forget_to_stop()
  before = signal.signal(signal.SIGTERM, ask_to_stop) if handle else None
  try:
    try:
      left = flags.FLAGS([name, *arguments])
    except flags.Error as error:
      print("error:", " ".join(str(error).split()), file=sys.stderr)
      return 2
    module.main(left)
  except SystemExit as end:
    return end.code if isinstance(end.code, int) else int(end.code is not None)
  finally:
    if handle:
      signal.signal(signal.SIGTERM, before)
  return 0
