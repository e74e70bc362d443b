"""Run a job on this host, on all of its devices or on some.

python -m launch.local --job=experiments.classify.run -- --out=runs/local
python -m launch.local --job=experiments.classify.run --fake_devices=8 -- --out=runs/eight --devices=0
"""

from __future__ import annotations

import os
import sys

from absl import app, flags

from launch import job

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(job)
flags.DEFINE_integer("fake_devices", 0, "Splits the CPU into this many devices, to try a mesh out.", lower_bound=0)
flags.DEFINE_enum("platform", None, ["cpu", "gpu", "tpu"], "Kind of device; jax chooses by default.")


def main(argv: list[str]) -> None:
  """Prepares jax, which must not have been imported, and runs the job."""
  mine, theirs = job.split(sys.argv if argv is None else argv)
  if len(mine) > 1:
    print(f"error: unexpected argument {mine[1]!r}; the job's flags come after --", file=sys.stderr)
    sys.exit(2)
  try:
    name = job.checked(FLAGS.job)
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  if FLAGS.platform is not None:
    os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(FLAGS.platform, FLAGS.platform)
  if FLAGS.fake_devices:
    os.environ["JAX_PLATFORMS"] = "cpu"
    flag = f"--xla_force_host_platform_device_count={FLAGS.fake_devices}"
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), flag]).strip()
  sys.exit(job.run(name, theirs))


if __name__ == "__main__":
  app.run(main, flags_parser=job.parse)
