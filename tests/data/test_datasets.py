from __future__ import annotations

import numpy as np
import pytest

from unlearnjax.core.source import Examples
from unlearnjax.data import datasets
from unlearnjax.data.datasets import NAMES, TEST_IDS, Dataset, available, check_finite, load


@pytest.fixture(autouse=True)
def small_files(files, monkeypatch):
  monkeypatch.setenv("UNLEARNJAX_DATA", str(files))


def test_digits():
  digits = load("digits")
  x = digits.train.column("x")
  assert x.dtype == np.float32 and x.min() == 0 and x.max() == 1 and digits.value_range == (0.0, 1.0)
  assert len(digits.train) + len(digits.test) == 1797
  assert digits.train.column("y").dtype == np.int32 and digits.train.ids.dtype == np.int32
  assert not np.intersect1d(digits.train.ids, digits.test.ids).size and digits.test.ids.min() >= TEST_IDS


@pytest.mark.parametrize("size", [10, 57, 300, 1438])
def test_subsets_are_balanced_as_far_as_classes_go(size):
  whole = np.bincount(load("digits").train.column("y"))
  counts = np.bincount(load("digits", train_size=size).train.column("y"), minlength=10)
  assert counts.sum() == size
  short = counts < whole
  assert short.sum() == 0 or counts[short].max() - counts[short].min() <= 1


def test_subsets_are_nested_and_keep_ids_and_pixels():
  whole, big, small = (load("digits", train_size=n, seed=3).train for n in (None, 200, 50))
  assert np.isin(small.ids, big.ids).all() and (np.diff(small.ids) > 0).all()
  np.testing.assert_array_equal(whole.select(small.ids).column("x"), small.column("x"))
  assert not np.array_equal(load("digits", train_size=50, seed=4).train.ids, small.ids)


def test_standardised_pixels_lie_in_the_value_range(pixels):
  mnist = load("mnist")
  low, high = mnist.value_range
  np.testing.assert_allclose(mnist.train.column("x")[..., 0], (pixels["gray"] / 255 - 0.1307) / 0.3081, atol=1e-6)
  assert mnist.train.column("x").min() == low and mnist.train.column("x").max() == high
  assert mnist.input_shape == (28, 28, 1) and mnist.num_classes == 10


@pytest.mark.parametrize("name", ["diabetes", "bike_sharing", "california_housing"])
def test_regression_is_standardised_by_the_training_split(name):
  data = load(name)
  x, y = data.train.column("x"), data.train.column("y")
  assert data.task == "regression" and data.classes == () and data.num_classes == 0 and data.value_range is None
  assert x.dtype == y.dtype == np.float32
  np.testing.assert_allclose(np.concatenate([x.mean(0), x.std(0) - 1, [y.mean(), y.std() - 1]]), 0, atol=1e-5)
  assert abs(data.test.column("y").mean()) > 1e-4  # the test split is not standardised by itself
  small = load(name, train_size=10).train
  np.testing.assert_array_equal(data.train.select(small.ids).column("x"), small.column("x"))


def test_small_cifar_subsets_come_from_the_first_file():
  assert load("cifar10", train_size=8).train.ids.max() < 20
  assert load("cifar10").train.ids.tolist() == list(range(40))
  assert "coarse" in load("cifar100", test_size=4).test.columns


def test_errors(monkeypatch, tmp_path):
  with pytest.raises(ValueError, match="name must be one of digits, mnist, .*; got 'svhn'"):
    load("svhn")
  with pytest.raises(ValueError, match="train_size must be at most 1438.*'digits'.*got 2000"):
    load("digits", train_size=2000)
  with pytest.raises(ValueError, match="test_size must be > 0, got 0"):
    load("digits", test_size=0)
  with pytest.raises(ValueError, match="via must be None for 'digits'"):
    load("digits", via="tfds")
  with pytest.raises(ValueError, match="via must be one of files, tfds"):
    load("mnist", via="torch")
  with pytest.raises(FileNotFoundError, match=f"faces_olivetti.*below {tmp_path}.*UNLEARNJAX_DATA"):
    load("olivetti", data_dir=tmp_path)


def test_values_that_are_not_finite_are_refused():
  rows = Examples({"x": np.zeros((3, 2), np.float32), "y": np.zeros(3, np.int32), "id": np.array([4, 5, 6])})
  check_finite(Dataset("mine", rows, rows, ("a",), "classification"))
  x = np.zeros((3, 2), np.float32)
  x[1] = [np.nan, np.inf]
  with pytest.raises(
    ValueError, match="column 'x' of the test split of 'mine'.*2 values that are not, the first at id 5"
  ):
    check_finite(Dataset("mine", rows, rows.replace(x=x), ("a",), "classification"))


def test_load_refuses_values_that_are_not_finite(monkeypatch):
  table = datasets.EMBEDDED["diabetes"]()
  y = table.train["y"].copy()
  y[0] = np.inf
  broken = table._replace(train={**table.train, "y": y})
  monkeypatch.setattr(datasets, "EMBEDDED", {"diabetes": lambda: broken})
  first = table.train["id"][0]
  with pytest.raises(ValueError, match=f"column 'y' of the train split of 'diabetes'.* 1 values.*first at id {first}$"):
    load("diabetes")


def test_available_says_where_from_or_what_is_missing(files):
  origins = available()
  assert tuple(origins) == NAMES
  assert origins["digits"] == "embedded in scikit-learn"
  assert origins["mnist"] == f"files below {files}"
  assert origins["olivetti"] == f"missing faces_olivetti/olivetti_64x64.npz below {files}"
