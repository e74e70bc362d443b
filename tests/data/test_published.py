"""Facts about the published data sets, where they are at hand."""

from __future__ import annotations

import numpy as np
import pytest
from common_paths import data_dir

from unlearnjax.data import builders, forget_class, forget_subclass
from unlearnjax.data.datasets import load

FOLDERS = {"olivetti": "faces_olivetti", "california_housing": "tabular", "bike_sharing": "tabular"}


def _load(name: str, **kwargs):
  return load(name, data_dir=data_dir(FOLDERS.get(name, name)).parent, **kwargs)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "olivetti"])
def test_constants_are_those_of_the_training_split(name):
  data = _load(name, train_size=None if name == "olivetti" else 5000, test_size=80)
  x = data.train.column("x")
  assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02
  assert len(np.unique(np.bincount(data.train.column("y"), minlength=data.num_classes))) == 1


@pytest.mark.parametrize("name, rows, width", [("california_housing", 20640, 8), ("bike_sharing", 17379, 12)])
def test_tables(name, rows, width):
  data = _load(name)
  assert len(data.train) + len(data.test) == rows and data.input_shape == (width,)


def test_first_cifar_file_is_enough_for_ten_thousand_rows():
  data = _load("cifar10", train_size=10_000, test_size=10)
  assert data.train.ids.tolist() == list(range(10_000))
  assert np.bincount(data.train.column("y")).tolist() == [1000] * 10


def test_a_person_is_forgotten_and_tfds_gives_the_same(tmp_path):
  direct = _load("olivetti")
  request = forget_class(direct, "subject_3")
  assert request.classes == (3,) and request.forget.ids.tolist() == list(range(30, 38))
  assert request.extra["test_forget"].ids.tolist() == [1_000_038, 1_000_039]
  builders.prepare("olivetti", source_dir=data_dir("faces_olivetti").parent, data_dir=tmp_path)
  through = load("olivetti", via="tfds", data_dir=tmp_path)
  for split in ("train", "test"):
    for column in ("x", "y", "id"):
      np.testing.assert_array_equal(getattr(direct, split).column(column), getattr(through, split).column(column))


def test_rocket_is_forgotten_inside_its_superclass():
  data, request = forget_subclass(_load("cifar100"), "vehicles_2", "rocket")
  assert data.num_classes == 20 and len(request.forget) == 100 and len(request.retain) == 9900
  assert np.unique(request.forget.column("y")).tolist() == [19] and 19 in request.retain.column("y")
  assert len(request.extra["test_forget"]) == 50
