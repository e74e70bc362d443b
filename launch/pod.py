"""Run a job on many hosts: the same command on each of them.

On a Cloud TPU pod and under Slurm everything is found by itself:

  python -m launch.pod --job=experiments.classify.run -- --out=gs://bucket/run --devices=0

Elsewhere, on host number 1 of 4:

  python -m launch.pod --coordinator=host0:1234 --processes=4 --process=1 --job=... -- --out=/shared/run --devices=0

`UNLEARNJAX_COORDINATOR`, `UNLEARNJAX_PROCESSES` and `UNLEARNJAX_PROCESS` stand in for the three flags. All hosts
must see one output directory. After a SIGTERM to any of them all save at the same step and end with code 130; the same
command, also on another number of hosts or devices, goes on from there.
"""

from __future__ import annotations

import os
import sys

from absl import app, flags

from launch import job, local

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(local)
flags.DEFINE_string("coordinator", None, "host:port of process 0; found by itself on TPU pods and under Slurm.")
flags.DEFINE_integer("processes", None, "How many processes there are.", lower_bound=1)
flags.DEFINE_integer("process", None, "The number of this one, from 0.", lower_bound=0)


def cluster() -> dict[str, object]:
  """Arguments of `jax.distributed.initialize`, from flags, then from the environment; empty: jax finds them.

  Raises:
    ValueError: some of the three are given and others are not, or they contradict one another.
  """
  found = {}
  for name, flag in (("coordinator_address", "coordinator"), ("num_processes", "processes"), ("process_id", "process")):
    value = FLAGS[flag].value
    if value is None:
      value = os.environ.get(f"UNLEARNJAX_{flag.upper()}")
    if value is not None:
      found[name] = value if name == "coordinator_address" else int(value)
  if found and len(found) < 3:
    raise ValueError(f"--coordinator, --processes and --process go together; got only {', '.join(sorted(found))}")
  if found and not found["process_id"] < found["num_processes"]:
    raise ValueError(f"--process must be in [0, {found['num_processes']}), got {found['process_id']}")
  return found


def main(argv: list[str]) -> None:
  """Joins the cluster and runs the job."""
  mine, theirs = job.split(argv)
  try:
    if len(mine) > 1:
      raise ValueError(f"unexpected argument {mine[1]!r}; the job's flags come after --")
    name, where = job.checked(FLAGS.job), cluster()
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  if FLAGS.fake_devices:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={FLAGS.fake_devices}"
    os.environ["JAX_PLATFORMS"] = "cpu"
  import jax

  if where.get("num_processes", 2) > 1:
    if "cpu" in os.environ.get("JAX_PLATFORMS", ""):
      jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", True)  # a SIGTERM to one is known to all
    jax.distributed.initialize(**where)
  if jax.process_index():
    sys.stdout = open(os.devnull, "w")  # one table is enough
  code = job.run(name, theirs, handle=jax.process_count() == 1)
  if jax.process_count() > 1:
    jax.distributed.shutdown()
  sys.exit(code)


if __name__ == "__main__":
  app.run(main, flags_parser=job.parse)
