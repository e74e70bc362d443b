"""The figure of the benchmark: corrected accuracy against the known share of the damage."""

from __future__ import annotations

import pathlib

from unlearnjax.report import read_results

BOUNDS = {"original": ":", "oracle": "--"}


def curve(out: pathlib.Path, fractions: tuple[float, ...]) -> pathlib.Path:
  """Writes `curve.png` from `results.json`: one line a method, mean over seeds, grey for `original` and `oracle`."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  figure, axis = plt.subplots(figsize=(6.4, 4))
  for entry in read_results(out / "results.json").summary:
    names = {100 * f: f"corrected_{100 * f:g}" for f in fractions}
    points = [(share, entry[name]["mean"]) for share, name in names.items() if name in entry]
    if points:
      grey = {"color": "#8A9099", "linestyle": BOUNDS.get(entry["method"], "-")}
      axis.plot(*zip(*points), label=entry["method"], **(grey if entry["method"] in BOUNDS else {"marker": "o"}))
  axis.set(xlabel="known share of the manipulated rows, %", ylabel="corrected accuracy, %", ylim=(0, 100))
  axis.legend(frameon=False, fontsize=8)
  path = out / "curve.png"
  figure.savefig(path, dpi=170, bbox_inches="tight")
  plt.close(figure)
  return path
