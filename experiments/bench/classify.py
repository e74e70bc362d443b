"""Steps per second of training and forgetting, beside an equivalent plain PyTorch loop.

  python -m experiments.bench.classify --out=runs/bench

Both sides run in one process on the same random data, one after the other, `--repeats` times in turn; a row holds the
median ratios. Without PyTorch (extra `parity`) the ratios are missing and our own figures stand alone. Peak memory is
that of a fresh process in which one side is built and run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from absl import app

from experiments.bench import command, measure

MODULE = "experiments.bench.classify"
NETS = {  # name in the rows -> model, images, examples, batch, options
  "mlp": ("mlp", (8, 8, 1), 1437, 64, {"widths": (128,)}),
  "wide": ("mlp", (8, 8, 1), 1437, 64, {"widths": (256, 128)}),
  "convnet": ("convnet", (28, 28, 1), 10_240, 256, {"widths": (16, 32, 32), "dense": 128}),
  "resnet8": ("resnet8", (32, 32, 3), 2_560, 256, {"width": 16}),
}
STEPS = {"mlp": (8000, 4000, 4000), "wide": (4000, 2000, 2000), "convnet": (40, 20, 20), "resnet8": (10, 5, 10)}


def workloads() -> dict[str, Callable[[], measure.Workload]]:
  """Name -> a function that makes the workload; PyTorch's networks are the same layers in the same order."""
  from experiments.bench import workloads as ours

  try:
    from experiments.bench import peers
  except ImportError:
    peers = None
  table = {}
  for net, (model, shape, size, batch, options) in NETS.items():
    for task, steps in zip(("train", "salun", "scrub"), STEPS[net]):
      name = f"{net}_{task}_{batch}"
      peer = peers and peers.peer(task, net, shape, options)
      make = functools.partial(ours.TASKS[task], name, model, shape, size, batch, steps, peer)
      table[name] = functools.partial(make, **options)
  return table


def main(argv: list[str]) -> None:
  from unlearnjax.sharding import split_cpu

  split_cpu()
  command.run(argv, MODULE, workloads(), peak=True)


if __name__ == "__main__":
  command.define_flags()
  app.run(main)
