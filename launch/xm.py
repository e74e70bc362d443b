"""Launch a job through XManager on this host, or print what starts it on Cloud TPUs.

xm_local, which needs the extra `launch`; then printed: gcloud commands, a Kubernetes JobSet, a custom job of Vertex AI:

  python -m launch.xm --job=experiments.classify.run -- --out=runs/xm
  python -m launch.xm --job=... --root=runs/lr --grid=learning_rate=0.05,0.1 --parallel=2 -- --methods=salun
  python -m launch.xm --job=... --on=queued --tpu=v5e-16 --print_only -- --out=gs://...
  python -m launch.xm --job=... --on=gke --tpu=v6e-16 --image=IMAGE --print_only -- ...
  python -m launch.xm --job=... --on=vertex --tpu=v5e-8 --image=IMAGE --print_only -- ...

XManager's own Vertex executor knows TPU v2 and v3 only, so newer ones are started by their own tools. Nothing is sent
anywhere: what starts machines, which cost money, is printed for you to read and run.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import app, flags

from launch import job, sweep

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(job)
flags.adopt_module_key_flags(sweep)
flags.DEFINE_enum("on", "local", ["local", "queued", "gke", "vertex"], "Where to run.")
flags.DEFINE_string("tpu", "v5e-8", "Kind and number of chips: v5e-8, v5p-8, v6e-16, ...")
flags.DEFINE_string("name", "unlearnjax", "Of the experiment.")
flags.DEFINE_string("zone", "us-central2-b", "Cloud zone or region.")
flags.DEFINE_string("project", "PROJECT", "Cloud project.")
flags.DEFINE_string("image", "IMAGE", "Container with unlearnjax, for gke and vertex.")

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Tpu(NamedTuple):
  """A slice of TPU chips, as the tools of the cloud name it.

  Attributes:
    accelerator: of a queued resource, e.g. "v5litepod-16"; it counts chips, for v5p cores.
    runtime: of its machines.
    selector: node label of GKE.
    machine: machine type of one host on Vertex.
    topology: chips along each axis.
    hosts: machines of the slice.
  """

  accelerator: str
  runtime: str
  selector: str
  machine: str
  topology: str
  hosts: int


_KINDS = {
  "v5e": ("v5litepod-{n}", "v2-alpha-tpuv5-lite", "tpu-v5-lite-podslice", "ct5lp-hightpu-{per}t"),
  "v5p": ("v5p-{cores}", "v2-alpha-tpuv5", "tpu-v5p-slice", "ct5p-hightpu-{per}t"),
  "v6e": ("v6e-{n}", "v2-alpha-tpuv6e", "tpu-v6e-slice", "ct6e-standard-{per}t"),
}
_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBE = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8"}


def tpu(name: str) -> Tpu:
  """A slice by kind and number of chips.

  Raises:
    ValueError: an unknown kind, or a number of chips that has no topology here.

  Example:
    >>> tpu("v5e-16").accelerator, tpu("v5e-16").hosts, tpu("v5p-8").accelerator, tpu("v6e-8").topology
    ('v5litepod-16', 4, 'v5p-16', '2x4')
  """
  kind, _, count = name.partition("-")
  shapes = _CUBE if kind == "v5p" else _FLAT
  if kind not in _KINDS or not count.isdigit() or int(count) not in shapes:
    counts = ", ".join(map(str, shapes))
    raise ValueError(f"--tpu must be one of {', '.join(_KINDS)} and a number of chips of {counts}; got {name!r}")
  chips = int(count)
  on_one = 8 if kind != "v5p" and chips == 8 else min(chips, 4)
  accelerator, runtime, selector, machine = (text.format(n=chips, cores=2 * chips, per=on_one) for text in _KINDS[kind])
  return Tpu(accelerator, runtime, selector, machine, shapes[chips], chips // on_one)


def pod_command(name: str, arguments: Sequence[str]) -> str:
  """What every host runs."""
  return shlex.join(["python", "-m", "launch.pod", f"--job={name}", "--", *arguments, "--devices=0"])


def queued(name: str, arguments: Sequence[str], slice_: Tpu) -> str:
  """Commands for a queued resource: ask for it, and run the job on all its hosts."""
  where = f"--zone={FLAGS.zone} --project={FLAGS.project}"
  run = shlex.quote(f"cd unlearnjax && {pod_command(name, arguments)}")
  return (
    f"gcloud compute tpus queued-resources create {FLAGS.name} --node-id={FLAGS.name} {where} \\\n"
    f"  --accelerator-type={slice_.accelerator} --runtime-version={slice_.runtime} --spot\n"
    f"gcloud compute tpus tpu-vm ssh {FLAGS.name} {where} --worker=all --command={run}"
  )


def gke(name: str, arguments: Sequence[str], slice_: Tpu) -> str:
  """A JobSet for `kubectl apply -f -`: one pod a host, restarted after a preemption; SIGTERM comes before."""
  command = ["sh", "-c", pod_command(name, arguments)]
  chips = int(slice_.machine.rpartition("-")[2][:-1])
  return f"""apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: {FLAGS.name}
spec:
  failurePolicy: {{maxRestarts: 100}}
  replicatedJobs:
  - name: job
    replicas: 1
    template:
      spec:
        parallelism: {slice_.hosts}
        completions: {slice_.hosts}
        backoffLimit: 0
        template:
          spec:
            terminationGracePeriodSeconds: 120
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: {slice_.selector}
              cloud.google.com/gke-tpu-topology: {slice_.topology}
            containers:
            - name: job
              image: {FLAGS.image}
              command: {command!r}
              resources: {{limits: {{google.com/tpu: {chips}}}}}"""


def vertex(name: str, arguments: Sequence[str], slice_: Tpu) -> str:
  """The configuration of a Vertex AI custom job, for `gcloud ai custom-jobs create --config=FILE`."""
  command = ["sh", "-c", pod_command(name, arguments)]
  where = f"--region={FLAGS.zone} --project={FLAGS.project}"
  return f"""# gcloud ai custom-jobs create --display-name={FLAGS.name} {where} --config=THIS_FILE
workerPoolSpecs:
- machineSpec: {{machineType: {slice_.machine}, tpuTopology: {slice_.topology}}}
  replicaCount: 1
  containerSpec:
    imageUri: {FLAGS.image}
    command: {command!r}"""


async def experiment(found: Mapping[str, Sequence[str]], title: str, parallel: int) -> list[str]:
  """Runs commands as work units of one XManager experiment on this host, without containers.

  Args:
    found: the command of every work unit, by its name.
    title: of the experiment.
    parallel: work units at a time.

  Returns:
    Names of those that failed; the others were not disturbed.

  Raises:
    ValueError: XManager is not installed.
  """
  try:
    from xmanager import xm, xm_local
  except ImportError:
    raise ValueError("launch.xm runs jobs by XManager: pip install 'unlearnjax[launch]', or use launch.sweep") from None
  path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
  failed, free = [], asyncio.Semaphore(parallel)

  try:
    async with xm_local.create_experiment(experiment_title=title) as started:
      spec = xm.binary(path=sys.executable, executor_spec=xm_local.Local.Spec())
      (python,) = started.package([spec])

      async def work(name: str, arguments: Sequence[str]) -> None:
        async with free:
          job_ = xm.Job(python, xm_local.Local(), args=list(arguments), env_vars={"PYTHONPATH": path})
          unit = await started.add(job_)
          try:
            await unit.wait_until_complete()
          except xm.ExperimentUnitError:
            failed.append(name)
        print(f"{name}  {'failed, see its lines above' if name in failed else 'done'}", flush=True)

      await asyncio.gather(*(work(name, command[1:]) for name, command in found.items()))
  except RuntimeError:  # XManager raises once more for what failed
    if not failed:
      raise
  return failed


def locally(name: str, arguments: Sequence[str]) -> None:
  """The job, or every combination of --grid; the exit code is 1 where one failed."""
  single = {FLAGS.name: [sys.executable, "-m", name, *arguments]}
  found = sweep.commands(name, FLAGS.root, FLAGS.grid, arguments) if FLAGS.grid else single
  if FLAGS.print_only:
    print("\n".join(shlex.join(command) for command in found.values()))
    return
  sys.exit(1 if asyncio.run(experiment(found, FLAGS.name, FLAGS.parallel)) else 0)


def main(argv: list[str]) -> None:
  """Prints, or runs."""
  mine, theirs = job.split(argv)
  try:
    if len(mine) > 1:
      raise ValueError(f"unexpected argument {mine[1]!r}; the job's flags come after --")
    name = job.checked(FLAGS.job)
    if FLAGS.on == "local":
      return locally(name, theirs)
    if FLAGS.grid:
      raise ValueError("--grid is for --on=local; print a pod's command once for each value of its flags")
    if not FLAGS.print_only:
      raise ValueError(
        f"--on={FLAGS.on} starts machines that cost money: add --print_only, read it, and run it yourself"
      )
    print({"queued": queued, "gke": gke, "vertex": vertex}[FLAGS.on](name, theirs, tpu(FLAGS.tpu)))
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
  app.run(main, flags_parser=job.parse)
