"""Tokens per second of unlearning steps and of an evaluation on TOFU, beside PyTorch with transformers.

  python -m experiments.bench.language --out=runs/bench_language
  python -m experiments.bench.language --size=1b --out=runs/bench_1b

A Llama of 0.6 or 25 million parameters in float32 with random weights; 8 rows of 64 tokens, half of them scored. `ga`
is gradient ascent, `npo` NPO with cached likelihoods and a retain term, `rmu` RMU with its frozen copy, `tofu` the
scores of answers and as many greedy tokens. `--size=1b` is Llama 3.2 1B in bfloat16, on a GPU only, ours alone, with
the fraction of the GPU's peak that the model's own arithmetic comes to.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from absl import app, flags

from experiments.bench import command, measure

flags.DEFINE_string("size", "0.6m,25m", "Sizes, separated by commas: 0.6m, 25m, 1b.")

MODULE = "experiments.bench.language"
COUNTS = {"0.6m": 20, "25m": 2, "1b": 10}
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "V100": 125e12}
"""Dense bfloat16 arithmetic a second (float16 for the V100), from the vendor's data sheets."""


def workloads(sizes: tuple[str, ...]) -> dict[str, Callable[[], measure.Workload]]:
  """Name -> a function that makes the workload."""
  from experiments.bench import texts

  try:
    from experiments.bench import text_peers as peers
  except ImportError:
    peers = None
  table = {}
  for size in sizes:
    for task in texts.TASKS:
      peer = peers.build if peers and size != "1b" else None
      name = f"{size}_{task}"
      table[name] = functools.partial(texts.workload, name, task, size, COUNTS[size], peer)
  return table


def utilization(rate: float, params: int, peak: float) -> float:
  """6 floating-point operations a parameter and token, per second, as a fraction of the peak.

  Example:
    >>> utilization(1000.0, 10**9, 12e12)
    0.5
  """
  return 6 * params * rate / peak


def refusal(sizes: tuple[str, ...], backend: str) -> str | None:
  """Why these sizes cannot be run here, or None."""
  unknown = sorted(set(sizes) - set(COUNTS))
  if unknown or not sizes:
    return f"--size must name some of {', '.join(COUNTS)}, got {','.join(sizes)!r}"
  if "1b" in sizes and backend != "gpu":
    return (
      f"--size=1b needs a GPU, and JAX found {backend}: weights, gradients and moments in bfloat16 take 10 GB, and a "
      "step of 4096 tokens 30 TFLOP, minutes on a CPU; take --size=25m"
    )
  return None


def main(argv: list[str]) -> None:
  import jax

  sizes = tuple(s for s in flags.FLAGS.size.split(",") if s)
  if problem := refusal(sizes, jax.default_backend()):
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(2)
  rows = command.run(argv, MODULE, workloads(sizes), peak=False)
  kind = jax.devices()[0].device_kind
  peak = next((value for name, value in PEAK.items() if name in kind), None)
  for row in rows or ():
    if row["method"] in ("1b_ga", "1b_npo"):  # RMU's backward pass does not cover the model
      from experiments.bench import texts

      params = sum(x.size for x in jax.tree.leaves(texts.SHAPES["1b"].model().fn.abstract))
      used = "unknown" if peak is None else f"{utilization(row['ours'], params, peak):.1%}"
      print(f"{row['method']}: model FLOP utilization {used} of {kind}")


if __name__ == "__main__":
  command.define_flags()
  app.run(main)
