"""The report's further parts: accuracy matrices, curves with the stability gap, what is kept and computed."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unlearnjax import report
from unlearnjax.report.plots import BLUE, GREY, INK, PLOT_STYLE, canvas, label_points, png_of

LINES = 6


def of(out: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
  """Writes `matrix.png`, `curves.png`, `kept.png` and `pairs.png` and returns the sections that show them."""
  done = {}
  for row in rows:
    if not row.get("error") and "matrix" in row:
      done.setdefault(row["method"], row)  # the first seed
  if not done:
    return {}
  import matplotlib

  with matplotlib.rc_context(PLOT_STYLE):
    found = _drawn(done)
  sections = {}
  for title, (name, png, caption) in found.items():
    (out / f"{name}.png").write_bytes(png)
    sections[title] = report.figure(png, title, caption)
  return sections


def _drawn(done: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, bytes, str]]:
  """{title: (file, picture, caption)} of the first seed's rows."""
  best = sorted(done, key=lambda name: -done[name]["acc"])
  found = {
    "Accuracy on every task after every task": (
      "matrix",
      _matrices(done, best),
      "Row i, column j: accuracy in percent on task j after task i was learned; first seed. Below the diagonal one "
      "sees what is forgotten.",
    ),
    "What is kept and what is computed": (
      "kept",
      _kept(done),
      "Each point is a method: accuracy in the end against what it keeps between tasks besides the weights, and "
      "against the examples that went through a backward pass; first seed.",
    ),
  }
  curved = [name for name in best if "curve" in done[name]]
  if curved:
    found["While the tasks are learned"] = (
      "curves",
      _curves(done, curved),
      "Accuracy on the first task (left) and mean over the tasks seen so far (right), evaluated inside the loop on a "
      "sample of test examples; lines mark new tasks. The dip after a line is the stability gap. First seed.",
    )
  paired = next((row for row in done.values() if "pairs" in row), None)
  if paired is not None:
    rank = {k: v for k, v in paired["pairs"]["rank_correlation"].items() if v is not None}
    said = ", ".join(f"{k.replace('/', ' and ')} {v:+.2f}" for k, v in rank.items()) or "too few pairs"
    found["What the tangent kernel says of each pair of tasks"] = (
      "pairs",
      _pairs(paired["pairs"]),
      "Row s, column t: what learning task s does to the earlier task t. From the tangent kernel of the untrained "
      "model: the overlap of the two tasks' tangent spaces (mean squared cosine), and the change of t's outputs that "
      "the linear theory expects of what the model has to learn when s comes. Beside it what plain training "
      f"({paired['method']}) did to the test loss and the accuracy. Rank correlations over pairs: {said}. First seed.",
    )
  return found


PANELS = (
  ("overlap", "overlap of tangent spaces", "{:.2f}", 1),
  ("expected", "expected change of outputs", "{:.2f}", 1),
  ("rise", "measured rise of the loss", "{:.2f}", 1),
  ("drop", "measured drop of accuracy, points", "{:.0f}", 100),
)


def _pairs(found) -> bytes:
  figure, axes = canvas(2, 2, width=8.4, height=7.0)
  for axis, (name, title, form, scale) in zip(np.ravel(axes), PANELS):
    values = scale * np.array([[np.nan if v is None else v for v in row] for row in found[name]], float)
    image = axis.imshow(values, cmap="cividis")
    axis.set_title(title, loc="left", fontsize=9)
    axis.set_xticks(range(len(values)))
    axis.set_yticks(range(len(values)))
    axis.grid(False)
    if len(values) <= 10:
      middle = (np.nanmin(values) + np.nanmax(values)) / 2
      for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
          color = "white" if value < middle else "black"
          axis.text(j, i, form.format(value), ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=axis, shrink=0.8)
  return png_of(figure)


def _matrices(done, names) -> bytes:
  across = min(6, len(names))
  down = -(-len(names) // across)
  figure, axes = canvas(across, down, width=1.75 * across + 0.6, height=1.95 * down)
  for axis, name in zip(axes, names):
    matrix = np.array(done[name]["matrix"])
    image = axis.imshow(matrix, cmap="cividis", vmin=0, vmax=100)
    axis.set_title(f"{name}  {done[name]['acc']:.0f}", fontsize=8.5, loc="left")
    axis.set_xticks([])
    axis.set_yticks([])
    if len(matrix) <= 6:
      for (i, j), value in np.ndenumerate(matrix):
        axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=6, color="white" if value < 60 else "black")
  for axis in axes[len(names) :]:
    axis.set_visible(False)
  figure.colorbar(image, ax=axes, shrink=0.6, label="accuracy, %")
  return png_of(figure)


def _curves(done, names) -> bytes:
  figure, axes = canvas(2, width=10.4, height=4.2)
  shown = list(dict.fromkeys([*names[:LINES], *(n for n in ("joint", "fine_tune") if n in names)]))
  for name in shown:
    curve = {k: np.array(v) for k, v in done[name]["curve"].items()}
    switches = np.flatnonzero(np.diff(curve["task"])) + 1
    x = curve["task"].astype(float)  # tasks of equal width: joint training has longer ones
    for part in np.split(np.arange(len(x)), switches):
      x[part] += np.arange(1, len(part) + 1) / len(part)
    so_far = [row[: k + 1].mean() for row, k in zip(curve["accuracy"], curve["task"])]
    grey = {"color": GREY} if name in ("joint", "fine_tune") else {}
    for axis, y in zip(axes, (curve["accuracy"][:, 0], so_far)):
      axis.plot(x, y, label=name, linewidth=1.1, alpha=0.85, **grey)
  for axis, title in zip(axes, ("First task", "Tasks so far")):
    for k in range(int(x.max()) + 1):
      axis.axvline(k, color="#C5CBD3", linewidth=0.7, zorder=0)
    axis.set_title(title, loc="left")
    axis.set_xlabel("task that is being learned")
    axis.set_ylim(0, 101)
  axes[0].set_ylabel("accuracy, %")
  handles = axes[0].get_legend_handles_labels()
  figure.legend(*handles, loc="outside lower center", ncols=8, frameon=False, fontsize=8)
  return png_of(figure)


def _kept(done) -> bytes:
  figure, axes = canvas(2, width=11.4, height=5.0)
  names = list(done)
  y = np.array([done[name]["acc"] for name in names])
  for axis, (column, label) in zip(axes, (("kept_kb", "kept, kB"), ("gradient_evaluations", "backward passes"))):
    x = np.array([done[name][column] for name in names], float)
    if x.min() > 0:
      axis.set_xscale("log")
    else:  # a method that keeps nothing, or that needs no gradient
      axis.set_xscale("symlog", linthresh=1.0 if column == "kept_kb" else max(x[x > 0].min(initial=x.max()) / 2, 1.0))
    axis.scatter(x, y, s=30, color=BLUE, edgecolors="white", zorder=3)
    axis.margins(x=0.16, y=0.1)
    axis.set_xlabel(label)
    axis.set_title("ACC, %", loc="left", color=INK)
    axis.minorticks_off()
    axis.grid(axis="both")
    label_points(axis, x, y, names, None)
  return png_of(figure)
