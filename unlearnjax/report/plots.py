"""The plots of a report. Colours are those of Okabe and Ito, which all common kinds of colour vision tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unlearnjax.report.compare import Choice, deviations, ranked
from unlearnjax.report.results import Results
from unlearnjax.report.spec import number

BLUE, ORANGE, GREEN, VERMILLION, GREY, INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A9099", "#1F2933"
PARTS = {"forget": VERMILLION, "retain": BLUE, "test": GREEN}
PLOT_STYLE = {
  "font.family": "sans-serif",
  "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans"],
  "font.size": 9.5,
  "text.color": INK,
  "axes.labelcolor": INK,
  "axes.edgecolor": "#C5CBD3",
  "axes.titlesize": 10,
  "axes.titleweight": "bold",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.axisbelow": True,
  "grid.color": "#E7EAEE",
  "xtick.color": "#52606D",
  "ytick.color": INK,
  "xtick.major.size": 0,
  "ytick.major.size": 0,
  "savefig.dpi": 170,
}


def figures(
  results: Results, choice: Choice, histograms: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, bytes]:
  """Every plot that the numbers allow, as PNG by file name without suffix.

  Args:
    results: rows, summary and spec.
    choice: the recommended method is drawn in colour.
    histograms: `{method: {"forget" | "retain" | "test": f[n]}}`, probabilities of the true class.
  """
  import matplotlib

  found = {}
  with matplotlib.rc_context(PLOT_STYLE):
    for name, figure in (
      ("distance", _distance(results)),
      ("cost", _cost(results, choice)),
      ("confidence", _confidence(results, histograms or {})),
    ):
      if figure is not None:
        found[name] = png_of(figure)
  return found


def _distance(results: Results):
  """One panel a metric: how far, and to which side, every method is from the reference."""
  spec = results.spec
  columns = [column for column in spec.columns if column.better == "reference"]
  data = {c.name: deviations(results.rows, c.name, spec.reference) for c in columns} if spec.reference else {}
  columns = [column for column in columns if data.get(column.name)]
  methods = [m for m in ranked(results.summary, spec) if any(m in data[c.name] for c in columns)]
  if not columns or not methods:
    return None
  down = math.ceil(len(columns) / 4)
  across = math.ceil(len(columns) / down)
  width, height = min(1.4 + 3.07 * across, 10.6), (1.0 + 0.27 * len(methods)) * down
  figure, axes = canvas(across, down, width=width, height=height)
  places = np.arange(len(methods))[::-1]
  for axis, column in zip(axes, columns):
    found = [data[column.name].get(method) for method in methods]
    means = np.array([f["mean"] if f else np.nan for f in found])
    halves = np.array([f["ci95"] if f else np.nan for f in found])
    axis.barh(places, means, height=0.64, color=np.where(means < 0, BLUE, VERMILLION), alpha=0.9)
    wide = np.isfinite(halves)  # one seed has no whisker
    axis.errorbar(means[wide], places[wide], xerr=halves[wide], fmt="none", ecolor=INK, elinewidth=0.9, capsize=1.8)
    axis.axvline(0, color=INK, linewidth=0.9)
    axis.set_title(column.label)
    axis.set_xlabel(f"minus {spec.reference}" + (", points" if column.unit == "%" else ""))
    axis.margins(x=0.12, y=0.02)
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)
  axes[0].set_yticks(places, methods)  # shared by all panels
  for axis in axes[len(columns) :]:
    axis.set_visible(False)
  return figure


def _cost(results: Results, choice: Choice):
  """Score (and what else was asked for) against cost; up to the dotted line a method is cheaper than the reference."""
  spec = results.spec
  cost = spec.column(spec.cost)
  names = [n for n in (spec.versus_cost or (spec.score,)) if n != cost.name]
  entries = [e for e in results.summary if _positive(e, cost.name)]
  panels = [name for name in names if any(name in entry for entry in entries)]
  if not panels:
    return None
  figure, axes = canvas(len(panels), width=max(6.6, 5.8 * len(panels)), height=5.4, sharey=False)
  for axis, name in zip(axes, panels):
    column = spec.column(name)
    shown = [entry for entry in entries if name in entry]
    x = np.array([entry[cost.name]["mean"] for entry in shown])
    y = np.array([entry[name]["mean"] for entry in shown])
    axis.set_xscale("log")
    halves = {"xerr": _halves(shown, cost.name), "yerr": _halves(shown, name)}
    axis.errorbar(x, y, **halves, fmt="none", ecolor="#B4BBC4", elinewidth=1.0, zorder=2)
    colors = [_color(entry["method"], choice, results) for entry in shown]
    axis.scatter(x, y, c=colors, s=44, zorder=3, edgecolors="white", linewidths=0.8)
    if choice.budget:
      axis.axvline(choice.budget, color=GREY, linewidth=1.0, linestyle=(0, (2, 3)), zorder=1)
    axis.margins(x=0.16, y=0.12)
    if column.better == "lower" and y.max() > 10 * max(np.median(y), 1e-9) and y.min() >= 0:
      axis.set_yscale("symlog", linthresh=max(np.median(y), 1e-9))  # one ruined method must not flatten the others
      axis.yaxis.set_major_formatter(lambda value, _, unit=column.unit: number(value, unit))
    axis.set_xlabel(f"{cost.label} (log scale)")
    arrow = {"lower": " (lower is better)", "higher": " (higher is better)"}.get(column.better, "")
    axis.set_title(f"{column.label}{arrow}", loc="left")
    axis.grid(axis="both")
    axis.xaxis.set_major_formatter(lambda value, _: number(value, cost.unit))
    axis.minorticks_off()
    label_points(axis, x, y, [entry["method"] for entry in shown], choice.method)
  return figure


def _confidence(results: Results, histograms: Mapping[str, Mapping[str, Any]]):
  """Small multiples: how sure each model is of the true class on the three parts of the data."""
  order = [method for method in ranked(results.summary, results.spec) if method in histograms]
  order += [method for method in histograms if method not in order]
  drawn = {m: {p: _finite(histograms[m].get(p)) for p in PARTS} for m in order}
  order = [method for method in order if any(len(values) for values in drawn[method].values())]
  if not order:
    return None
  across = min(4, len(order))
  down = math.ceil(len(order) / across)
  figure, axes = canvas(across, down, width=2.45 * across, height=0.75 + 1.5 * down, sharex=True)
  bins = np.linspace(0.0, 1.0, 26)
  for axis, method in zip(axes, order):
    for part, color in PARTS.items():
      values = drawn[method][part]
      if len(values):
        share = np.histogram(np.clip(values, 0, 1), bins)[0] / len(values)
        axis.stairs(share, bins, color=color, fill=True, alpha=0.18 if part == "forget" else 0.0)
        axis.stairs(share, bins, color=color, linewidth=1.4, label=part, zorder=3 if part == "forget" else 2)
    axis.set_title(method, loc="left")
    axis.set_xlim(0, 1)
    axis.set_yscale("function", functions=(np.sqrt, np.square))
    axis.set_ylim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_yticks([0, 0.05, 0.2, 0.5, 1], ["0", "5%", "20%", "50%", "100%"])
    axis.grid(axis="y")
  for axis in axes[len(order) :]:
    axis.set_visible(False)
  for axis in axes[max(len(order) - across, 0) : len(order)]:
    axis.set_xlabel("p(true class)")
    axis.tick_params(labelbottom=True)
  handles, labels = axes[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
  return figure


def canvas(across: int, down: int = 1, *, width: float, height: float, sharex=False, sharey=True):
  """A figure of panels that needs no display, and its axes, row by row."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure
  from matplotlib.layout_engine import ConstrainedLayoutEngine

  figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.04))
  FigureCanvasAgg(figure)
  axes = figure.subplots(down, across, squeeze=False, sharex=sharex, sharey=sharey)
  return figure, list(axes.flat)


def png_of(figure) -> bytes:
  """A figure as a PNG file; the same figure gives the same bytes."""
  import io

  buffer = io.BytesIO()
  figure.savefig(buffer, format="png", metadata={"Software": None})
  return buffer.getvalue()


_PLACES = ((7, 0), (-7, 0), (0, 8), (0, -8), (6, 7), (6, -7), (-6, 7), (-6, -7), (8, 14), (8, -14), (-8, 14), (-8, -14))


def label_points(axis, x: np.ndarray, y: np.ndarray, names: Sequence[str], strong: str | None) -> None:
  """Writes names beside points; each takes the first place around its point that is free, or the least crowded one."""
  figure = axis.figure
  figure.draw_without_rendering()  # the layout must be known before boxes are compared
  renderer = figure.canvas.get_renderer()
  frame = axis.get_window_extent(renderer).extents
  points = axis.transData.transform(np.column_stack([x, y]))
  taken = [(px - 4, py - 4, px + 4, py + 4) for px, py in points]
  for index in np.argsort(-points[:, 1]):
    text = axis.annotate(
      names[index], (x[index], y[index]), (0, 0), textcoords="offset points", va="center", fontsize=8.5
    )
    text.set_weight("bold" if names[index] == strong else "normal")
    tried = []
    for place in _PLACES:
      _put(text, place)
      box = text.get_window_extent(renderer).extents
      tried.append((sum(_overlap(box, other) for other in taken) + 50 * _outside(box, frame), place))
    _put(text, min(tried, key=lambda pair: pair[0])[1])
    taken.append(tuple(text.get_window_extent(renderer).extents))


def _put(text, place: tuple[int, int]) -> None:
  text.set_position(place)
  text.set_horizontalalignment("left" if place[0] > 0 else "right" if place[0] < 0 else "center")


def _overlap(a, b) -> float:
  return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box, frame) -> float:
  return sum(max(0.0, d) for d in (frame[0] - box[0], frame[1] - box[1], box[2] - frame[2], box[3] - frame[3]))


def _halves(entries: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
  return np.nan_to_num(np.array([entry[name].get("ci95") or 0.0 for entry in entries], float))


def _positive(entry: Mapping[str, Any], name: str) -> bool:
  return name in entry and entry[name]["mean"] > 0


def _finite(values) -> np.ndarray:
  array = np.asarray([] if values is None else values, np.float64).ravel()
  return array[np.isfinite(array)]


def _color(method: str, choice: Choice, results: Results) -> str:
  if method == choice.method:
    return VERMILLION
  return GREY if method in (results.spec.reference, *results.spec.anchors) else BLUE
