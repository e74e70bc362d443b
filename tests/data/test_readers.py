from __future__ import annotations

import numpy as np
import pytest
from common_paths import data_dir

from unlearnjax.data import readers


def test_strips_decode_to_the_pixels_that_were_written(files, pixels):
  table = readers.LAYOUTS["cifar100"].read(files, None)
  np.testing.assert_array_equal(table.train["x"], pixels["rgb"].reshape(-1, 32, 32, 3))
  np.testing.assert_array_equal(table.test["x"], pixels["rgb_test"])
  np.testing.assert_array_equal(table.train["coarse"], table.train["y"] // 2)
  assert table.classes == ("cat", "dog", "oak", "elm") and table.coarse_classes == ("animal", "tree")


def test_only_the_shards_that_are_needed_are_read(files):
  read = readers.LAYOUTS["cifar10"].read
  assert len(read(files, 20).train["y"]) == 20
  assert len(read(files, 21).train["y"]) == 40
  assert "coarse" not in read(files, 1).train


def test_idx_arrays_keep_their_order(files, pixels):
  table = readers.LAYOUTS["fashion_mnist"].read(files, None)
  np.testing.assert_array_equal(table.train["x"][..., 0], pixels["gray"])
  assert table.train["id"].tolist() == list(range(60)) and table.classes[9] == "garment 9"


def test_blank_cells_become_the_training_median(files):
  housing = readers.LAYOUTS["california_housing"].read(files, None)
  bedrooms = np.concatenate([housing.train["x"][:, 3], housing.test["x"][:, 3]])
  ids = np.concatenate([housing.train["id"], housing.test["id"]])
  blank = ids % 7 == 0
  known = housing.train["x"][housing.train["id"] % 7 != 0, 3]
  np.testing.assert_allclose(bedrooms[blank], np.median(known), rtol=1e-6)
  assert len(np.unique(bedrooms[~blank])) > 10


@pytest.mark.parametrize("table", [readers.read_digits(), readers.read_diabetes()], ids=["digits", "diabetes"])
def test_fixed_split_is_a_partition(table):
  ids = np.concatenate([table.train["id"], table.test["id"]])
  assert sorted(ids) == list(range(len(ids)))
  assert abs(len(table.test["id"]) / len(ids) - 0.2) < 2e-3


def test_digits_split_is_stratified():
  table = readers.read_digits()
  whole = np.bincount(table.train["y"]) + np.bincount(table.test["y"])
  np.testing.assert_array_equal(np.bincount(table.test["y"]), np.round(0.2 * whole))


def test_missing_arrays_and_columns_are_named(tmp_path, files):
  (tmp_path / "mnist").mkdir()
  np.savez(tmp_path / "mnist" / "mnist.npz", x_train=np.zeros((1, 28, 28)))
  with pytest.raises(ValueError, match=r"must hold the arrays x_train, .*'y_train', 'x_test', 'y_test'.* are missing"):
    readers.LAYOUTS["mnist"].read(tmp_path, None)
  (tmp_path / "tabular").mkdir()
  housing = files / "tabular" / "california_housing.csv.gz"
  (tmp_path / "tabular" / "bike_sharing_hour.csv.gz").write_bytes(housing.read_bytes())
  with pytest.raises(ValueError, match="'season'.* are missing"):
    readers.LAYOUTS["bike_sharing"].read(tmp_path, None)


def test_missing_files_name_the_variable_and_the_layout(tmp_path, monkeypatch):
  monkeypatch.delenv(readers.VARIABLE, raising=False)
  with pytest.raises(FileNotFoundError, match=r"mnist/mnist.npz below .*x_train \[n, 28, 28\].*UNLEARNJAX_DATA"):
    readers.require_files("mnist", tmp_path)
  assert readers.missing_files("cifar10", None) == readers.LAYOUTS["cifar10"].files


def test_olivetti_holds_out_two_photos_of_every_person():
  table = readers.LAYOUTS["olivetti"].read(data_dir("faces_olivetti").parent, None)
  assert np.bincount(table.train["y"]).tolist() == [8] * 40 and np.bincount(table.test["y"]).tolist() == [2] * 40
  assert set(table.test["id"] % 10) == {8, 9}
