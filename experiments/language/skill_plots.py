"""The pictures of the benchmark of skills: the cross-task matrices, and accuracy while a skill is unlearned."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from experiments.language import tasks
from unlearnjax import report
from unlearnjax.report.plots import PLOT_STYLE, canvas, png_of


def sections(out: pathlib.Path, rows: list[dict[str, Any]]) -> dict[str, str]:
  """Writes `matrix.png` and `course.png` and returns the sections that show them; first seed."""
  done: dict[str, dict[str, Any]] = {}
  for row in rows:
    if not row.get("error") and "matrix" in row:
      done.setdefault(row["method"], row)
  if not done:
    return {}
  import matplotlib

  with matplotlib.rc_context(PLOT_STYLE):
    pictures = {
      "What unlearning one skill does to all": ("matrix", png_of(_matrices(done)), "Row i, column j: share of skill j, "
        "in percent, that is gone after skill i was unlearned. Columns that look alike: the measured skill decides."),
      "Look by look": ("course", png_of(_courses(done)), "Accuracy on unseen questions of the skill that is being "
        "unlearned; 50 is chance. Labels that are learned by heart can bring the skill back."),
    }  # fmt: skip
  for name, png, _ in pictures.values():
    (out / f"{name}.png").write_bytes(png)
  return {title: report.figure(png, title, caption) for title, (_, png, caption) in pictures.items()}


def _matrices(done):
  figure, axes = canvas(len(done), width=3.4 * len(done) + 0.8, height=3.6)
  names = list(tasks.RULES)
  for axis, (method, row) in zip(axes, done.items()):
    matrix = 100 * np.array([[np.nan if v is None else v for v in line] for line in row["matrix"]], float)
    axis.imshow(matrix, cmap="cividis", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(matrix):
      if np.isfinite(value):
        axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value < 60 else "black")
    axis.set_title(method, loc="left")
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
  return figure


def _courses(done):
  figure, axes = canvas(len(done), width=3.4 * len(done) + 0.8, height=3.2)
  for axis, (method, row) in zip(axes, done.items()):
    for name, skill in row["skills"].items():
      line = [skill["accuracy"], *skill["course"]]
      axis.plot(range(len(line)), 100 * np.array(line), label=name, linewidth=1.2)
    axis.set_title(method, loc="left")
    axis.set_xlabel(f"looks, {tasks.METHODS[method]['passes']} passes each")
    axis.grid(axis="y")
  axes[0].set_ylabel("accuracy, %")
  figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
  return figure
