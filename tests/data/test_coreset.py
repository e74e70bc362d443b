"""The core of a forget set: how many go, which ones, and what the hidden states are read from."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from toy import TOY, toy_data
from toy_language import toy_lm

from unlearnjax import data, metrics
from unlearnjax.core import Examples

HIDDEN = np.random.default_rng(0).normal(size=(60, 4))
HIDDEN[::20] += 9.0  # three outliers


@pytest.mark.parametrize("detector", data.DETECTORS)
@pytest.mark.parametrize("contamination, gone", [(0.0, 0), (0.05, 3), (0.1, 6), (0.6, 36)])
def test_every_detector_leaves_the_same_number_out(detector, contamination, gone):
  keep = data.core_rows(HIDDEN, contamination, detector=detector)
  assert keep.shape == (60,) and (~keep).sum() == gone
  if gone == 3 and detector not in ("one_class_svm", "random"):  # the SVM may keep a point for the sake of its border
    assert np.flatnonzero(~keep).tolist() == [0, 20, 40]


@pytest.mark.parametrize("rows", [50, 51, 57])
def test_as_many_as_the_forest_and_the_factor_of_scikit_learn(rows):
  from sklearn.ensemble import IsolationForest
  from sklearn.neighbors import LocalOutlierFactor

  hidden = HIDDEN[:rows]
  forest = IsolationForest(contamination=0.1, random_state=42).fit(hidden).predict(hidden) == 1
  np.testing.assert_array_equal(data.core_rows(hidden, 0.1), forest)
  factor = LocalOutlierFactor(n_neighbors=20, contamination=0.1).fit_predict(hidden) == 1
  np.testing.assert_array_equal(data.core_rows(hidden, 0.1, detector="lof"), factor)


def test_mahalanobis_is_the_distance_on_two_components():
  from sklearn.decomposition import PCA

  scores = PCA(2).fit_transform(HIDDEN)
  far = np.einsum("ni,ij,nj->n", scores, np.linalg.inv(np.cov(scores.T)), scores)
  gone = ~data.core_rows(HIDDEN, 0.2, detector="mahalanobis")
  assert sorted(np.flatnonzero(gone)) == sorted(np.argsort(-far)[:12])


def test_a_forest_is_drawn_by_its_seed():
  same = [data.core_rows(HIDDEN, 0.3, seed=s) for s in (1, 1, 2)]
  np.testing.assert_array_equal(same[0], same[1])
  assert (same[0] != same[2]).any()


def test_a_classifier_loses_its_outliers_and_their_variance():
  model, source = TOY.init(jax.random.key(0)), toy_data(40)[5:]
  split = data.upcore(model, source, "head:in", contamination=0.2)
  assert len(split.core) == 28 and len(split.pruned) == 7
  assert sorted([*split.core.ids, *split.pruned.ids]) == sorted(source.ids)
  assert split.core.columns["x"] is source.columns["x"] and split.core_variance < split.variance
  whole = data.upcore(model, source, "head:in", contamination=0.0)
  assert len(whole.pruned) == 0 and whole.core_variance == whole.variance


def test_a_language_model_is_read_at_the_end_of_the_question():
  model = toy_lm("llama", vocab_size=16, dim=8, depth=2, heads=2)
  rng = np.random.default_rng(0)
  tokens, prompt = rng.integers(1, 16, (12, 6)).astype(np.int32), np.repeat([2, 3], 6).astype(np.int32)
  other = np.where(np.arange(6) >= prompt[:, None], 5, tokens).astype(np.int32)  # another answer
  tables = [Examples({"tokens": t, "mask": np.ones((12, 6), bool), "prompt": prompt}) for t in (tokens, other)]
  first, second = (data.coreset.hidden_states(model, table, "blocks/0") for table in tables)
  assert first.shape == (12, 8)
  np.testing.assert_allclose(first, second, atol=1e-6)
  with pytest.raises(ValueError, match="last must name the column of question lengths.*got 'nothing'"):
    data.upcore(model, tables[0], "blocks/0", last="nothing")


@pytest.mark.parametrize(
  "given, message",
  [
    (dict(hidden=HIDDEN[:1]), r"hidden must be finite numbers f\[N, d\] with N >= 2, got shape \(1, 4\)"),
    (dict(hidden=HIDDEN, contamination=1.0), r"contamination must be in \[0, 1\), got 1.0"),
    (dict(hidden=HIDDEN, detector="kmeans"), "detector must be one of isolation_forest"),
  ],
)
def test_what_it_refuses(given, message):
  with pytest.raises(ValueError, match=message):
    data.core_rows(**given)


def test_total_variance():
  assert float(metrics.total_variance(HIDDEN)) == pytest.approx(np.trace(np.cov(HIDDEN.T)), rel=1e-5)
  assert float(metrics.total_variance(np.ones((5, 3)))) == 0
  with pytest.raises(ValueError, match="at least two rows, got 1"):
    metrics.total_variance(np.ones((1, 3)))
