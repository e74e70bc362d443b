from __future__ import annotations

import numpy as np
import pytest

from unlearnjax.core.source import Examples
from unlearnjax.core.types import ForgetRequest
from unlearnjax.data.datasets import Dataset, load
from unlearnjax.data.splits import forget_class, forget_ids, forget_random, forget_range, forget_subclass, validate


@pytest.fixture(scope="module")
def digits():
  return load("digits")


@pytest.fixture(scope="module")
def diabetes():
  return load("diabetes")


@pytest.fixture(scope="module")
def animals():
  y = np.arange(40, dtype=np.int32) % 4
  rows = Examples({"x": np.zeros((40, 2), np.float32), "y": y, "coarse": y // 2})
  names = ("cat", "dog", "oak", "elm")
  return Dataset("animals", rows, rows, names, "classification", None, ("animal", "tree"))


REQUESTS = {
  "class": lambda digits, diabetes, animals: (digits, forget_class(digits, (3, 5))),
  "random": lambda digits, diabetes, animals: (digits, forget_random(digits, 0.2, seed=1)),
  "ids": lambda digits, diabetes, animals: (digits, forget_ids(digits, digits.train.ids[[7, 2]])),
  "range": lambda digits, diabetes, animals: (diabetes, forget_range(diabetes, high=-1.0)),
  "subclass": lambda digits, diabetes, animals: forget_subclass(animals, "animal", "dog"),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_forget_and_retain_partition_one_shared_table(kind, digits, diabetes, animals):
  data, request = REQUESTS[kind](digits, diabetes, animals)
  both = np.concatenate([request.forget.ids, request.retain.ids])
  assert sorted(both) == sorted(data.train.ids) and len(request.forget) and len(request.retain)
  np.testing.assert_array_equal(request.ids, request.forget.ids)
  for name, column in data.train.columns.items():
    assert request.forget.columns[name] is column and request.retain.columns[name] is column
  for part in request.extra.values():
    assert all(part.columns[name] is column for name, column in data.test.columns.items())
  assert request.reason and validate(request, data) is request


def test_class_request(digits):
  request = forget_class(digits, [5, "3"])
  assert request.classes == (3, 5)
  assert set(request.forget.column("y")) == {3, 5} and not {3, 5} & set(request.retain.column("y"))
  extra = request.extra
  assert set(extra["test_forget"].column("y")) == {3, 5} and not {3, 5} & set(extra["test"].column("y"))
  assert len(extra["test"]) + len(extra["test_forget"]) == len(extra["test_all"]) == len(digits.test)


def test_random_request_is_seeded_nested_and_uniform_over_rows(digits):
  ids = [set(forget_random(digits, f, seed=4).forget.ids.tolist()) for f in (0.1, 0.1, 0.3)]
  assert ids[0] == ids[1] < ids[2] and len(ids[0]) == 144
  assert ids[0] != set(forget_random(digits, 0.1, seed=5).forget.ids.tolist())
  assert len(forget_random(digits, 1e-6).forget) == 1


def test_subclass_shares_images_and_relabels(animals):
  data, request = forget_subclass(animals, "animal", 1)
  assert data.classes == ("animal", "tree") and data.train.columns["x"] is animals.train.columns["x"]
  assert set(request.forget.column("fine")) == {1} and set(request.forget.column("y")) == {0}
  assert set(request.retain.column("fine")) == {0, 2, 3} and request.classes == ()


def test_range_is_a_closed_band(diabetes):
  y = diabetes.train.column("y")
  for ends in ({"low": 0.0}, {"high": 0.5}, {"low": -0.5, "high": float(y[0])}):
    request = forget_range(diabetes, **ends)
    low, high = ends.get("low", -np.inf), ends.get("high", np.inf)
    np.testing.assert_array_equal(request.forget.ids, diabetes.train.ids[(y >= low) & (y <= high)])
    assert request.extra["test_forget"].column("y").max() <= high
  quarter = forget_range(diabetes, quantile=(0.75, 1))
  assert abs(len(quarter.forget) / len(y) - 0.25) < 0.01
  assert quarter.forget.column("y").min() >= quarter.retain.column("y").max()


def test_errors_of_requests(digits, diabetes, animals):
  with pytest.raises(ValueError, match=r"class must be in \[0, 10\), got 11"):
    forget_class(digits, 11)
  with pytest.raises(ValueError, match="class must be one of cat, dog, oak, elm.*got 'fox'"):
    forget_class(animals, "fox")
  with pytest.raises(ValueError, match="at least one class of 'animals', got all 4"):
    forget_class(animals, range(4))
  with pytest.raises(ValueError, match="'diabetes' is for regression"):
    forget_class(diabetes, 0)
  with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\), got 1"):
    forget_random(digits, 1.0)
  with pytest.raises(ValueError, match="at least one row, got none"):
    forget_ids(digits, [])
  with pytest.raises(ValueError, match=r"ids that do not exist in the data: \[5000, 6000\]"):
    forget_ids(digits, [6000, 5000])
  with pytest.raises(ValueError, match="'digits' has none"):
    forget_subclass(digits, 0, 0)
  with pytest.raises(ValueError, match="'dog' belongs to animal, not to 'tree'"):
    forget_subclass(animals, "tree", "dog")
  with pytest.raises(ValueError, match="needs a regression data set"):
    forget_range(digits, low=0)
  with pytest.raises(ValueError, match="either low and/or high, or quantile"):
    forget_range(diabetes)
  with pytest.raises(ValueError, match="two increasing numbers"):
    forget_range(diabetes, quantile=(0.5, 0.2))
  with pytest.raises(ValueError, match=r"it holds 0 of 354"):
    forget_range(diabetes, low=100.0)


def test_validate(digits):
  train = digits.train
  with pytest.raises(ValueError, match="at least one row, got none"):
    validate(ForgetRequest(train[:0], train))
  with pytest.raises(ValueError, match=f"share 2 ids: {train.ids[8:10].tolist()}".replace("[", r"\[")):
    validate(ForgetRequest(train[:10], train[8:]))
  with pytest.raises(ValueError, match=r"do not exist in the forget set: \[999\]"):
    validate(ForgetRequest(train[:10], train[10:], ids=np.array([999])))
  with pytest.raises(ValueError, match="do not exist in the training set of 'digits'.*359 in all"):
    validate(ForgetRequest(digits.test), digits)
  with pytest.raises(ValueError, match=r"classes must lie in \[0, 10\), got \[10\]"):
    validate(ForgetRequest(train[:10], classes=(10,)), digits)
  with pytest.raises(ValueError, match=r"got \[12\]"):
    validate(ForgetRequest(train[:10], classes=(12,)))


def test_validate_reads_any_source():
  rows = [{"id": i, "y": i % 2} for i in range(4)]
  validate(ForgetRequest(rows[:2], rows[2:], classes=(1,)))
  with pytest.raises(ValueError, match=r"share 1 ids: \[1\]"):
    validate(ForgetRequest(rows[:2], rows[1:]))
