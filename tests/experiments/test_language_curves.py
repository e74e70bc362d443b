"""Curves of the language benchmark: what a point is, and how the points of several fits become one curve."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from toy_lm import bigram, bigram_params

from experiments.language import curves
from unlearnjax import models
from unlearnjax.core import History, Model
from unlearnjax.data import answers, authors


@pytest.fixture(scope="module")
def sets():
  people, known = authors.fictitious_authors(3, facts=4), authors.known_facts()
  rows = [*people, *known["real_authors"][:5], *known["world_facts"][:5]]
  table = answers.answers_table(rows, models.train_words(answers.texts_of(rows), 2048))
  ends = {"forget": slice(0, 4), "retain": slice(4, 12), "real_authors": slice(12, 17), "world_facts": slice(17, 22)}
  return {name: table[rows] for name, rows in ends.items()}


def mean_nll(params, source, wording=""):
  """Of every answer, written out."""
  prefix = f"{wording}_" if wording else ""
  tokens, mask = source.column(f"{prefix}tokens"), source.column(f"{prefix}mask")[:, 1:]
  logits = np.asarray(params["embed"] @ params["head"], np.float64)
  logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return -(logp[tokens[:, :-1], tokens[:, 1:]] * mask).sum(1) / mask.sum(1)


def test_a_point_is_what_the_metrics_say_set_by_set(sets):
  meter = curves.Meter(sets, retained=6)
  model = Model(bigram_params(vocabulary=2048), fn=bigram)
  found = meter.scores(model)
  nll = functools.partial(mean_nll, model.params)
  wrong = {name: np.stack([nll(source, f"wrong{j}") for j in range(3)], -1) for name, source in sets.items()}
  right = nll(sets["forget"], "paraphrase")
  np.testing.assert_allclose(found["truth_ratios"], np.exp(right - wrong["forget"].mean(-1)), rtol=1e-3)
  assert found["prob_forget"] == pytest.approx(100 * np.exp(-nll(sets["forget"])).mean(), rel=1e-3)
  retain = sets["retain"][:6]
  better = lambda right, wrong: np.maximum(0, 1 - np.exp(right[:, None] - wrong).mean(-1)).mean()
  values = [np.exp(-nll(retain)).mean(), better(nll(retain, "paraphrase"), wrong["retain"][:6])]
  for name in ("real_authors", "world_facts"):
    own = nll(sets[name])
    values += [(1 / (1 + np.exp(own[:, None] - wrong[name]).sum(-1))).mean(), better(own, wrong[name])]
  assert found["utility"] == pytest.approx(100 * 6 / sum(1 / np.array(values)), rel=1e-3)
  point = meter.point(model, found)
  assert point["log10_p"] == 0 and point["ks"] == 0 and set(point) == set(curves.MEASURED)
  assert len(meter.table) == 5 * (4 + 6) + 4 * (5 + 5)


def history(steps, at, **values):
  columns = {"loss": np.zeros(steps)}
  for name in curves.MEASURED:
    columns[f"look/{name}"] = np.full(steps, np.nan)
    columns[f"look/{name}"][at] = values.get(name, np.arange(len(at)))
  return History(columns)


def test_points_of_two_fits_follow_each_other():
  recorder = curves.Recorder(None, None, None, {}, None)
  recorder.keep("gate", history(5, [2, 4]))
  recorder.keep("strength", history(4, [1, 3], utility=[7, 8]))
  first, last = dict.fromkeys(curves.MEASURED, 9.0), {**dict.fromkeys(curves.MEASURED, 1.0), "utility": 8.0}
  curve = recorder.curve(first, last)
  assert curve["step"] == [0, 3, 5, 7, 9] and curve["utility"] == [9, 0, 1, 7, 8]
  later = recorder.curve(first, {**last, "utility": 5.0})  # something was done after the last fit
  assert later["step"][-1] == 10 and later["utility"][-1] == 5
  recorder.keep("stopped", history(3, [0]))
  assert recorder.curve(first, last)["step"][-2:] == [10, 12]  # it went on for two steps after its last look


def test_the_area_ends_where_retraining_is():
  curve = {"prob_forget": [100.0, 50.0, 0.0], "utility": [60.0, 60.0, 20.0]}
  assert curves.area(curve, 50.0) == pytest.approx(60)
  assert curves.area(curve, 25.0) == pytest.approx((0.5 * 60 + 0.25 * 50) / 0.75)
  assert curves.area({"prob_forget": [100.0, 80.0], "utility": [60.0, 60.0]}, 50.0) is None


def test_a_picture_needs_methods(tmp_path):
  row = lambda name, n: {"method": name, "curve": {k: [1.0] * n for k in ("step", *curves.MEASURED)}}
  assert curves.sections(tmp_path, [row("original", 1), row("retrain", 1)]) == {}
  page = curves.sections(
    tmp_path, [row("original", 1), row("retrain", 1), row("npo", 3), {"method": "x", "error": "e"}]
  )
  assert (tmp_path / "curves.png").stat().st_size > 3000 and "img" in page["During unlearning"]
