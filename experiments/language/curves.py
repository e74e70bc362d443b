"""Forget quality against utility while a method is at work, at a few steps of each of its fits.

A point costs one forward pass over the wordings of the forget set, of some retained questions and of the facts that no
request touches. There is no generation, so that its utility is the harmonic mean of six of TOFU's nine numbers, those
without ROUGE: compare it with the curve's own target and not with the column of the table.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import unlearnjax as uj
from experiments.language.scores import wrong_answers
from unlearnjax import edits, metrics, report
from unlearnjax.report.plots import GREY, INK, ORANGE, PLOT_STYLE, VERMILLION, canvas, png_of

MEASURED = ("log10_p", "ks", "utility", "prob_forget")
SETS = ("forget", *metrics.truth.SETS)


class Meter:
  """Scores models on one table of wordings, (question, answer) by (question, answer).

  Args:
    sets: questions by set, selections of one table of `data.answers_table`.
    retained: questions of the retain set that count.
  """

  def __init__(self, sets: Mapping[str, uj.Examples], retained: int):
    self.parts: list[tuple[str, str, int]] = []
    tokens, masks = [], []
    wrong = wrong_answers(sets["forget"])
    for name in SETS:
      source = sets[name][:retained] if name == "retain" else sets[name]
      own = ("", "paraphrase", *wrong) if name in ("forget", "retain") else ("", *wrong)
      for wording in own:
        prefix = f"{wording}_" if wording else ""
        tokens.append(source.column(f"{prefix}tokens"))
        masks.append(source.column(f"{prefix}mask"))
        self.parts.append((name, wording, len(source)))
    self.table = uj.Examples({"tokens": np.concatenate(tokens), "mask": np.concatenate(masks)})

  def scores(self, model: uj.Model) -> dict[str, Any]:
    """`truth_ratios` f[N] of the forget set, `utility` and `prob_forget` in percent."""
    nll = metrics.answer_scores(model, self.table).mean_nll
    ends = np.cumsum([size for _, _, size in self.parts])
    said = {(s, w): part for (s, w, _), part in zip(self.parts, np.split(nll, ends[:-1]))}
    wrong = {s: np.stack([said[t, w] for t, w in said if t == s and w.startswith("wrong")], -1) for s in SETS}
    values = []
    for name in metrics.truth.SETS:
      plain = name != "retain"
      values.append(metrics.answer_probability(said[name, ""], wrong[name] if plain else None))
      right = said[name, "" if plain else "paraphrase"]
      ratio = metrics.truth_ratio(right, wrong[name], definition="arithmetic")
      values.append(metrics.truth_score(ratio, definition="true_better"))
    return {
      "truth_ratios": np.asarray(metrics.truth_ratio(said["forget", "paraphrase"], wrong["forget"])),
      "utility": 100 * metrics.harmonic_mean([float(np.mean(v)) for v in values]),
      "prob_forget": 100 * float(np.mean(metrics.answer_probability(said["forget", ""]))),
    }

  def point(self, model: uj.Model, target: Mapping[str, Any]) -> dict[str, float]:
    """A point of a curve; `target` are the scores of the retrained model."""
    found = self.scores(model)
    quality = metrics.forget_quality(found.pop("truth_ratios"), target["truth_ratios"])
    return {"log10_p": quality.log10_p, "ks": quality.distance, **found}


class Recorder:
  """Makes the points of one method's fits and puts them in order: what `Run.on_look` and `Run.on_history` ask for.

  Args:
    meter: scores models.
    target: its scores of the retrained model.
    verbs: of the method, bound.
    refs: what its `init` made: a fit of a part of the method may know less.
    original: the model before; a task vector is taken from it.
    scale: of the task vector that a fit trains; None for methods that serve what they train.
  """

  def __init__(self, meter: Meter, target, verbs: uj.core.Verbs, refs, original: uj.Model, scale: float | None = None):
    self.meter, self.target, self.verbs, self.original, self.scale = meter, target, verbs, original, scale
    self.refs = dict(refs)
    self.histories: dict[str, Mapping[str, np.ndarray]] = {}

  def look(self, label: str, state: uj.UnlearnState, refs: uj.core.Refs) -> dict[str, float]:
    """The numbers of the model that would be served if the fit ended here."""
    if self.scale is None:
      model = self.verbs.model(state, {**self.refs, **refs})
    else:
      model = self.original.replace(params=edits.negate_task(self.original.params, state.params, self.scale))
    return {f"look/{name}": value for name, value in self.meter.point(model, self.target).items()}

  def keep(self, label: str, history: Mapping[str, np.ndarray]) -> None:
    """Takes the history of a fit that ended, now or in an earlier process."""
    self.histories[label] = history

  def curve(self, first: Mapping[str, float], last: Mapping[str, float]) -> dict[str, list[float]]:
    """The points of all fits from `first`, the original, to `last`, the model that is served."""
    found: dict[str, list[float]] = {"step": [0], **{name: [first[name]] for name in MEASURED}}
    past = 0
    for history in self.histories.values():
      if f"look/{MEASURED[0]}" in history:
        at = np.flatnonzero(np.isfinite(history["look/utility"]))
        found["step"] += (past + at + 1).tolist()
        for name in MEASURED:
          found[name] += history[f"look/{name}"][at].astype(float).round(4).tolist()
      past += max((len(values) for values in history.values()), default=0)
    if any(abs(found[name][-1] - last[name]) > 1e-3 * max(1, abs(last[name])) for name in MEASURED):
      found["step"].append(
        past if past > found["step"][-1] else past + 1
      )  # a fit that stopped early, or what follows it
      for name in MEASURED:
        found[name].append(last[name])
    return found


def area(curve: Mapping[str, Sequence[float]], target: float) -> float | None:
  """Mean utility on the way to as much deletion as retraining's, in percent: UPCORE's area over its width.

  Deletion is 1 - P(F); None where the method does not get that far.
  """
  deleted = 1 - np.array(curve["prob_forget"]) / 100
  goal = 1 - target / 100
  if deleted.max() < goal or deleted.min() >= goal:
    return None
  low = float(deleted.min())
  return metrics.deletion_utility_auc(deleted, curve["utility"], interval=(low, goal)) / (goal - low)


def sections(out: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
  """Writes `curves.png` and returns the section that shows it: one panel a method, first seed."""
  done: dict[str, Mapping[str, Any]] = {}
  for row in rows:
    if not row.get("error") and "curve" in row:
      done.setdefault(row["method"], row["curve"])
  methods = [name for name in done if name not in ("original", "retrain")]
  if not methods or "retrain" not in done:
    return {}
  import matplotlib

  with matplotlib.rc_context(PLOT_STYLE):
    png = png_of(_panels(done, methods))
  (out / "curves.png").write_bytes(png)
  title = "During unlearning"
  caption = (
    "Forget quality against utility from the original (square) to the last step (ring), darker the later; the star is "
    "the retrained model, the dotted line p = 0.05. The utility leaves out ROUGE and counts some of the retained "
    "questions, see experiments/language/curves.py. First seed."
  )
  return {title: report.figure(png, title, caption)}


def _panels(done: Mapping[str, Mapping[str, Any]], methods: Sequence[str]):
  across = min(5, len(methods))
  down = -(-len(methods) // across)
  figure, axes = canvas(across, down, width=2.1 * across + 0.5, height=2.1 * down + 0.3, sharex=True)
  best, right = done["retrain"], max(max(done[name]["utility"]) for name in ("retrain", *methods))
  for axis, name in zip(axes, methods):
    curve = done[name]
    x, y = (np.array([np.nan if v is None else v for v in curve[k]], float) for k in ("utility", "log10_p"))
    axis.plot(x, y, color=GREY, linewidth=1.0, zorder=2)
    axis.scatter(x[1:], y[1:], c=np.arange(1, len(x)), cmap="Blues", vmin=-3, vmax=len(x), s=18, zorder=3)
    axis.scatter(x[:1], y[:1], marker="s", color=INK, s=24, zorder=4)
    axis.scatter(x[-1:], y[-1:], facecolors="none", edgecolors=VERMILLION, s=44, zorder=4)
    axis.scatter(best["utility"], best["log10_p"], marker="*", color=ORANGE, edgecolors=INK, linewidths=0.5, s=90)
    axis.axhline(np.log10(0.05), color=GREY, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
    axis.set_title(name, fontsize=8.5, loc="left")
    axis.set_yscale("symlog", linthresh=1.0)
    axis.set_yticks([0, -1, -3, -10, -30], ["0", "-1", "-3", "-10", "-30"])
    axis.minorticks_off()
    axis.set_xlim(-0.06 * right, 1.1 * right)
    axis.set_ylim(top=0.6)
    axis.grid(axis="both")
  for axis in axes[len(methods) :]:
    axis.set_visible(False)
  for axis in axes[max(len(methods) - across, 0) : len(methods)]:
    axis.set_xlabel("utility, %")
    axis.tick_params(labelbottom=True)
  for axis in axes[::across]:
    axis.set_ylabel("log10 p")
  return figure
