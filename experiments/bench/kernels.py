"""Time of each pass over every weight, beside the memory's speed and what is commonly written instead.

  python -m experiments.bench.kernels --out=runs/kernels --sizes=1M,100M

"Ours" is `unlearnjax.kernels`, "plain" the direct jnp form under jit (one argsort of the concatenated scores; a stacked
matrix of gradients), "published" the form of published code (two argsorts; layer by layer without jit; gradients to the
host). All sides run in turn; a ratio is the median over repeats. Seconds of the processor are printed beside the wall
clock, because they mean the same on a busy machine. "roof" is the fraction of the memory's speed, measured in the same
run, that the least bytes to be moved (inputs once, outputs once) come to.
"""

from __future__ import annotations

import gc
import json
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from unlearnjax import report

FLAGS = flags.FLAGS

UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}
PEERS_UP_TO = 2 * 10**8
GEM_NUMBERS = 2 * 10**8


def size_of(text: str) -> int:
  """'100M' -> 100000000."""
  unit = UNITS.get(text[-1:].upper(), 1)
  try:
    return int(float(text[:-1] if unit > 1 else text) * unit)
  except ValueError:
    raise app.UsageError(f"--sizes must be numbers such as 1M,100M; got {text!r}") from None


def default_sizes() -> list[str]:
  """100M where memory allows; a billion and more in bfloat16 only on an accelerator."""
  if jax.default_backend() == "cpu":
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return ["1M", "100M"] if free > 6e9 else ["1M"]
  limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
  return ["1M", "100M"] + [size for size, need in (("1B", 12e9), ("8B", 64e9)) if limit > need]


def main(argv: list[str]) -> None:
  from experiments.bench import command
  from experiments.bench.passes import CASES, TASKS

  names = command.chosen(argv, CASES, "pass")
  rows = []
  print(
    f"{'pass':<20}{'size':>6}{'dtype':>10}{'ms':>10}{'CPU ms':>10}{'GB/s':>8}{'roof':>7}"
    f"{'x plain':>9}{'CPU':>7}{'x publ.':>9}{'CPU':>7}"
  )
  for text in [s for s in FLAGS.sizes.split(",") if s] or default_sizes():
    n = size_of(text)
    dtype = jnp.float32 if n < 10**9 else jnp.bfloat16
    roof = memory_speed(min(n, 10**8))
    for name in names:
      count = min(n, GEM_NUMBERS // TASKS) if name == "gem" else n
      case = CASES[name](count, dtype, n <= PEERS_UP_TO)
      rows.append({"size": count, "dtype": jnp.dtype(dtype).name, "roof_gb_s": roof / 1e9, **measured(case, roof)})
      print(line(rows[-1]), flush=True)
      del case
      gc.collect()
  out = pathlib.Path(FLAGS.out)
  content = {
    "command": report.command_line(sys.argv[1:], "experiments.bench.kernels"),
    "versions": report.versions(),
    "device": str(jax.devices()[0].device_kind),
    "load": os.getloadavg()[0],
    "rows": rows,
  }
  report.write_text(out / "kernels.json", json.dumps(content, indent=1) + "\n")
  print(
    f"\nmemory: {rows[-1]['roof_gb_s']:.1f} GB/s; load of the machine {content['load']:.1f}\n{out / 'kernels.json'}"
  )


def measured(case, roof: float) -> dict:
  """Medians over repeats of all sides, taken in turn; those that take long count their first call, and only that."""
  sides = {"ours": case.ours, "plain": case.plain, "published": case.published}
  sides = {k: f for k, f in sides.items() if f}
  wall, cpu = {k: [] for k in sides}, {k: [] for k in sides}
  for side, f in sides.items():
    seconds = clocked(f)
    if seconds[1] > 15:  # beside which a second of compilation does not count
      sides[side], wall[side], cpu[side] = None, [seconds[0]], [seconds[1]]
  for _ in range(FLAGS.repeats):
    for side, f in sides.items():
      if f is not None:
        seconds = clocked(f)
        wall[side].append(seconds[0])
        cpu[side].append(seconds[1])

  def ratio(times, side):
    if side not in times or not times[side]:
      return None
    pairs = zip(times[side], times["ours"]) if len(times[side]) > 1 else [(times[side][0], np.median(times["ours"]))]
    return float(np.median([a / max(b, 1e-9) for a, b in pairs]))

  seconds = float(np.median(wall["ours"]))
  return {
    "method": case.name,
    "ms": seconds * 1e3,
    "cpu_ms": float(np.median(cpu["ours"])) * 1e3,
    "gb_s": case.bytes / seconds / 1e9,
    "of_roof": case.bytes / seconds / roof,
    "extra_memory": case.extra,
    **{f"{side}_ratio": ratio(wall, side) for side in ("plain", "published")},
    **{f"{side}_cpu_ratio": ratio(cpu, side) for side in ("plain", "published")},
  }


def clocked(f) -> tuple[float, float]:
  """(seconds, seconds of the processor) of one call."""
  start = time.perf_counter(), time.process_time()
  jax.block_until_ready(f())
  return time.perf_counter() - start[0], time.process_time() - start[1]


def memory_speed(n: int) -> float:
  """Bytes a second of a triad a + 2 b into a, the best of ten."""
  triad = jax.jit(lambda a, b: a + 2 * b, donate_argnums=0)
  a, b = jnp.zeros(n), jnp.ones(n)
  times = []
  for _ in range(11):
    start = time.perf_counter()
    a = jax.block_until_ready(triad(a, b))
    times.append(time.perf_counter() - start)
  return 12 * n / min(times[1:])


def line(row: dict) -> str:
  times = lambda key: format(row[key], ".1f") if row[key] is not None else "-"
  size = row["size"]
  unit = next(u for u in ("B", "M", "K", "") if size >= UNITS.get(u, 1))
  return (
    f"{row['method']:<20}{f'{size / UNITS.get(unit, 1):.3g}{unit}':>6}{row['dtype']:>10}{row['ms']:>10.1f}"
    f"{row['cpu_ms']:>10.1f}{row['gb_s']:>8.2f}{row['of_roof']:>7.2f}{times('plain_ratio'):>9}"
    f"{times('plain_cpu_ratio'):>7}{times('published_ratio'):>9}{times('published_cpu_ratio'):>7}"
  )


def define_flags() -> None:
  """What this module is asked, once it is run: another one may have flags of the same names."""
  flags.DEFINE_string("out", "runs/kernels", "Output directory.")
  flags.DEFINE_string("sizes", "", "Numbers of weights such as 1M,100M; by default what the device holds.")
  flags.DEFINE_string("only", "", "Names of passes, separated by commas; all by default.")
  flags.DEFINE_integer("repeats", 5, "Measurements of each side.", lower_bound=1)


if __name__ == "__main__":
  define_flags()
  app.run(main)
