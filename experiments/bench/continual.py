"""Steps per second of continual learning, and of a whole stream of tasks, beside plain PyTorch loops.

  python -m experiments.bench.continual --out=runs/bench_continual
  python -m experiments.bench.continual --only=gem20_10 --pixels=28 --memory=256 --out=runs/bench_gem

A perceptron on permuted digits. The rows on steps leave out what happens between tasks; `stream_*` are five tasks, one
pass over each in batches of 10, with everything between them, by `uj.learn`. GEM's memory is full: five or twenty
earlier tasks, each with `--memory` examples. A method is compiled once; that time is left out on both sides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from absl import app, flags

from experiments.bench import command, measure

flags.DEFINE_integer("memory", 256, "Examples that GEM and A-GEM remember of each task.", lower_bound=1)
flags.DEFINE_integer("pixels", 8, "Side of the images in the rows on steps; 28 is MNIST.", lower_bound=1)

MODULE = "experiments.bench.continual"
STEPS = {
  "er_10": 1000, "er_64": 500, "der_pp_10": 600, "ewc_10": 1000, "agem5_10": 300, "gem5_10": 60, "gem20_10": 20,
}  # fmt: skip


def workloads(memory: int, pixels: int = 8) -> dict[str, Callable[[], measure.Workload]]:
  """Name -> a function that makes the workload: method, earlier tasks, rows of a step."""
  from experiments.bench import learners

  try:
    from experiments.bench import learner_peers as peers
  except ImportError:
    peers = None
  table = {}
  for name, steps in STEPS.items():
    text, _, batch = name.rpartition("_")
    method = text.rstrip("0123456789")
    tasks = int(text.removeprefix(method) or 0)
    peer = getattr(peers, method, None)
    table[name] = functools.partial(learners.steps, name, method, steps, int(batch), tasks, memory, pixels, peer)
  for method in ("fine_tune", "er"):
    name = f"stream_{method}"
    table[name] = functools.partial(learners.stream, name, method, peers and peers.streamed(method))
  return table


def main(argv: list[str]) -> None:
  command.run(argv, MODULE, workloads(flags.FLAGS.memory, flags.FLAGS.pixels), peak=False)


if __name__ == "__main__":
  command.define_flags()
  app.run(main)
