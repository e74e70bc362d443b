from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from unlearnjax.data import corrupt
from unlearnjax.data.corrupt import (
  backdoor,
  corrective_request,
  gaussian_relabel,
  interclass_confusion,
  noisy_labels,
  patch_trigger,
  relabel_random,
)
from unlearnjax.data.datasets import load


@pytest.fixture(scope="module")
def digits():
  return load("digits")


CORRUPTIONS = {
  "noise": lambda data: noisy_labels(data, 0.2, seed=1),
  "backdoor": lambda data: backdoor(data, count=100, target=2, seed=1),
  "confusion": lambda data: interclass_confusion(data, 3, 5, 0.5, seed=1),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_only_manipulated_rows_change_and_the_truth_is_kept(kind, digits):
  corrupted, manipulated = CORRUPTIONS[kind](digits)
  train = corrupted.train
  np.testing.assert_array_equal(train.ids, digits.train.ids)
  np.testing.assert_array_equal(train.column("y_clean"), digits.train.column("y"))
  others = ~np.isin(train.ids, manipulated.ids)
  for name in ("x", "y"):
    np.testing.assert_array_equal(train.column(name)[others], digits.train.column(name)[others])
  assert corrupted.test is digits.test and "y_clean" not in digits.train.columns
  for name, column in train.columns.items():
    assert manipulated.columns[name] is column
  assert (train.columns["x"] is digits.train.columns["x"]) == (kind != "backdoor")
  assert train.column("y").dtype == np.int32


def test_noisy_labels_are_wrong_and_uniform(digits):
  _, manipulated = noisy_labels(digits, 1.0)
  y, clean = manipulated.column("y"), manipulated.column("y_clean")
  assert len(y) == len(digits.train) and not (y == clean).any()
  assert stats.chisquare(np.bincount((y - clean) % 10, minlength=10)[1:]).pvalue > 1e-3


def test_backdoor_patches_the_corner_and_relabels(digits):
  corrupted, manipulated = backdoor(digits, fraction=0.1, size=2, target="7")
  x, clean = manipulated.column("x"), digits.train.select(manipulated.ids).column("x")
  assert len(manipulated) == 144 and (manipulated.column("y") == 7).all()
  assert (x[:, 6:, 6:] == 1).all()
  changed = x != clean
  changed[:, 6:, 6:] = False
  assert not changed.any()
  affected = corrupted.affected
  assert (affected.column("x")[:, 6:, 6:] == 1).all()
  np.testing.assert_array_equal(affected.column("y"), digits.test.column("y"))
  assert not (digits.test.column("x")[:, 6:, 6:] == 1).all()


def test_confusion_swaps_two_classes_equally(digits):
  corrupted, manipulated = interclass_confusion(digits, 3, "5", 0.5)
  y, clean = manipulated.column("y"), manipulated.column("y_clean")
  np.testing.assert_array_equal(y + clean, 8)
  assert np.bincount(y)[3] == np.bincount(y)[5] == round(0.5 * min(np.bincount(digits.train.column("y"))[[3, 5]]))
  assert set(corrupted.affected.column("y")) == {3, 5} and corrupted.affected.columns["x"] is digits.test.columns["x"]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corrective_request(kind, digits):
  corrupted, manipulated = CORRUPTIONS[kind](digits)
  known, wider = (corrective_request(corrupted, manipulated, f, seed=2) for f in (0.1, 0.5))
  assert len(known.forget) == round(0.1 * len(manipulated)) and len(wider.forget) == round(0.5 * len(manipulated))
  assert set(known.ids) < set(wider.ids) < set(manipulated.ids)
  assert sorted([*known.forget.ids, *known.retain.ids]) == sorted(digits.train.ids)
  unknown = np.setdiff1d(manipulated.ids, known.ids)
  assert np.isin(unknown, known.retain.ids).all()  # the retain set still holds the rest, with its wrong labels
  rest = known.retain.select(unknown)
  np.testing.assert_array_equal(rest.column("y"), corrupted.train.select(unknown).column("y"))
  assert known.forget.columns["x"] is known.retain.columns["x"] is known.extra["clean_retain"].columns["x"]
  assert not np.isin(known.extra["clean_retain"].ids, manipulated.ids).any()
  assert len(known.extra["clean_retain"]) == len(digits.train) - len(manipulated)
  shown = known.extra["manipulated"]
  np.testing.assert_array_equal(shown.column("y"), digits.train.select(shown.ids).column("y"))
  assert shown.columns["x"] is corrupted.train.columns["x"]
  everything = corrective_request(corrupted, manipulated, 1.0)
  np.testing.assert_array_equal(np.sort(everything.retain.ids), np.sort(everything.extra["clean_retain"].ids))


def test_clean_test_rows_lie_outside_the_affected_domain(digits):
  of = {kind: corrective_request(*make(digits), 0.5).extra for kind, make in CORRUPTIONS.items()}
  assert set(of["confusion"]["test"].column("y")) == set(range(10)) - {3, 5}
  assert len(of["backdoor"]["test"]) == len(of["noise"]["test"]) == len(digits.test)
  assert of["backdoor"]["test"].columns["x"] is digits.test.columns["x"]
  assert of["backdoor"]["test_affected"].columns["x"] is not digits.test.columns["x"]
  assert all(len(extra["test_all"]) == len(digits.test) for extra in of.values())


def test_random_labels_are_uniform():
  labels = np.repeat(np.arange(10), 1000)
  everything = relabel_random(0, labels, 10)
  assert stats.chisquare(np.bincount(everything)).pvalue > 1e-3 and everything.dtype == np.int32
  wrong = relabel_random(1, labels, 10, exclude_true=True)
  assert not (wrong == labels).any()
  assert stats.chisquare(np.bincount((wrong - labels) % 10)[1:]).pvalue > 1e-3
  few = relabel_random(2, labels, 10, exclude_true=True, exclude=(0, 4, 9))
  table = np.array([np.bincount(few[labels == c], minlength=10) for c in range(10)])
  assert not table[:, [0, 4, 9]].any() and not np.diag(table).any()
  for row in table:  # 7 classes left, 6 where the true one is among them
    assert stats.chisquare(row[row > 0]).pvalue > 1e-5
  assert (table > 0).sum(axis=1).tolist() == [7, 6, 6, 6, 7, 6, 6, 6, 6, 7]


def test_any_source_of_randomness():
  labels = np.zeros(50, int)
  for make in (lambda: 3, lambda: np.random.default_rng(3), lambda: jax.random.key(3)):
    np.testing.assert_array_equal(relabel_random(make(), labels, 10), relabel_random(make(), labels, 10))
  a, b = (relabel_random(jax.random.key(s), labels, 10) for s in (0, 1))
  assert (a != b).any()


def test_gaussian_relabel_has_the_moments():
  y = gaussian_relabel(0, np.zeros((20_000, 1)), 2.0, 0.5)
  assert y.shape == (20_000, 1) and y.dtype == np.float32
  assert stats.kstest(y[:, 0], "norm", (2.0, 0.5)).pvalue > 1e-3


@pytest.mark.parametrize("corner", corrupt.CORNERS)
def test_trigger_touches_only_its_corner(corner):
  images = np.zeros((2, 5, 6, 3), np.float32)
  patched = patch_trigger(images, 2, (1.0, 2.0, 3.0), corner)
  vertical, horizontal = corner.split("_")
  expected = images.copy()
  expected[
    :, (slice(2) if vertical == "top" else slice(-2, None)), (slice(2) if horizontal == "left" else slice(-2, None))
  ] = [1, 2, 3]
  np.testing.assert_array_equal(patched, expected)
  assert not images.any() and patched.dtype == images.dtype


def test_errors(digits):
  diabetes = load("diabetes")
  with pytest.raises(ValueError, match="either count or fraction, got count=None"):
    backdoor(digits)
  with pytest.raises(ValueError, match=r"count must be in \[1, 1438\], got 2000"):
    backdoor(digits, count=2000)
  with pytest.raises(ValueError, match="needs images with a value_range; 'diabetes' has none"):
    backdoor(diabetes, count=1)
  with pytest.raises(ValueError, match=r"size must be in \[1, 8\], got 9"):
    backdoor(digits, count=1, size=9)
  with pytest.raises(ValueError, match=r"target must be in \[0, 10\), got 10"):
    backdoor(digits, count=1, target=10)
  with pytest.raises(ValueError, match="'diabetes' is for regression"):
    noisy_labels(diabetes, 0.1)
  with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\], got 0"):
    noisy_labels(digits, 0)
  with pytest.raises(ValueError, match="two classes, got 3 twice"):
    interclass_confusion(digits, 3, "3", 0.1)
  with pytest.raises(ValueError, match="needs the pair that noisy_labels"):
    corrective_request(digits, digits.train, 0.1)
  with pytest.raises(ValueError, match=r"known_fraction must be in \(0, 1\], got 0"):
    corrective_request(*noisy_labels(digits, 0.1), 0)
  with pytest.raises(ValueError, match=r"labels must be in \[0, 3\), got 0..5"):
    relabel_random(0, np.array([0, 5]), 3)
  with pytest.raises(ValueError, match="no class is left"):
    relabel_random(0, np.array([0, 1]), 2, exclude_true=True, exclude=(1,))
  with pytest.raises(ValueError, match="std must be > 0, got 0"):
    gaussian_relabel(0, np.zeros(3), 0.0, 0.0)
  with pytest.raises(ValueError, match="corner must be one of top_left"):
    patch_trigger(np.zeros((3, 3, 1)), 1, 1.0, "middle")
  with pytest.raises(ValueError, match=r"images must have shape \[..., H, W, C\], got \(3, 3\)"):
    patch_trigger(np.zeros((3, 3)), 1, 1.0)
