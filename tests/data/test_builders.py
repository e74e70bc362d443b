from __future__ import annotations

import json

import numpy as np
import pytest

from unlearnjax.data import builders, readers
from unlearnjax.data.datasets import available, load


@pytest.fixture(scope="module")
def copies(published, tmp_path_factory):
  """Prepared TFDS copies of one image set with two label columns and one table."""
  where = tmp_path_factory.mktemp("tfds")
  for name in ("cifar100", "bike_sharing"):
    builders.prepare(name, source_dir=published, data_dir=where)
  return where


@pytest.mark.parametrize("name", ["cifar100", "bike_sharing"])
@pytest.mark.parametrize("sizes", [{}, {"train_size": 12, "test_size": 4, "seed": 2}])
def test_files_and_tfds_give_the_same_arrays(name, sizes, files, copies):
  direct = load(name, data_dir=files, **sizes)
  through = load(name, via="tfds", data_dir=copies, **sizes)
  assert through._replace(train=None, test=None) == direct._replace(train=None, test=None)
  for split in ("train", "test"):
    a, b = getattr(direct, split), getattr(through, split)
    assert sorted(a.columns) == sorted(b.columns)
    for column in a.columns:
      assert a.column(column).dtype == b.column(column).dtype
      np.testing.assert_array_equal(a.column(column), b.column(column))


def test_the_stored_order_is_not_the_id_order(copies):
  import tensorflow_datasets as tfds

  source = tfds.builder_from_directory(str(builders.prepared("cifar100", copies))).as_data_source(split="train")
  stored = [source[i]["id"] for i in range(len(source))]
  assert stored != sorted(stored)  # otherwise the test above would not see a missing sort
  assert builders.read_prepared("cifar100", copies).train["id"].tolist() == sorted(stored)


def test_tfds_serves_where_no_directory_is_named(copies, monkeypatch):
  monkeypatch.delenv(readers.VARIABLE, raising=False)
  monkeypatch.setattr(readers, "data_directory", lambda: None)
  monkeypatch.setenv(builders.TFDS_VARIABLE, str(copies))
  assert len(load("bike_sharing").train) == 40
  assert available()["bike_sharing"] == f"TFDS copy in {copies / 'bike_sharing' / '1.0.0'}"
  assert available()["mnist"].startswith("missing mnist/mnist.npz")
  with pytest.raises(FileNotFoundError, match="UNLEARNJAX_DATA"):
    load("mnist")


def test_sets_that_others_prepared_are_read(tmp_path):
  """Images as PNG, ids as text, names of the labels: the features of TFDS's own CIFAR builders."""
  import io

  import tensorflow_datasets as tfds
  from PIL import Image

  class Foreign(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = "cifar10"
    VERSION = tfds.core.Version("3.0.2")

    def _info(self):
      features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(names=["a", "b"]),
      }
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples("train"), "test": self._generate_examples("test")}

    def _generate_examples(self, split):
      for i in range(6):
        buffer = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), 40 * i, np.uint8)).save(buffer, "PNG")
        buffer.seek(0)
        yield i, {"id": f"{split}_{i:05d}", "image": buffer, "label": i % 2}

  Foreign(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
  data = load("cifar10", via="tfds", data_dir=tmp_path)
  assert data.train.ids.tolist() == list(range(6)) and data.classes == ("a", "b")
  low, high = data.value_range
  np.testing.assert_allclose(
    data.train.column("x")[:, 0, 0, 0], np.linspace(low, low + (high - low) * 200 / 255, 6), 1e-5
  )
  np.testing.assert_array_equal(data.train.column("y"), [0, 1] * 3)


def test_copies_that_need_no_tensorflow_are_preferred(tmp_path):
  for version, file_format in (("1.0.0", "array_record"), ("1.2.0", "array_record"), ("3.0.1", "tfrecord")):
    directory = tmp_path / "mnist" / version
    directory.mkdir(parents=True)
    (directory / "dataset_info.json").write_text(json.dumps({"fileFormat": file_format}))
  assert builders.prepared("mnist", tmp_path).name == "1.2.0"
  assert builders.prepared("cifar10", tmp_path) is None


def test_errors(tmp_path, files):
  with pytest.raises(ValueError, match="name must be one of mnist, .*; got 'digits'"):
    builders.make_builder("digits")
  with pytest.raises(FileNotFoundError, match="faces_olivetti/olivetti_64x64.npz"):
    builders.prepare("olivetti", source_dir=files, data_dir=tmp_path)
  with pytest.raises(FileNotFoundError, match="no prepared TFDS data set 'mnist' below .*TFDS_DATA_DIR"):
    load("mnist", via="tfds", data_dir=tmp_path)


def test_a_tfrecord_copy_is_refused_with_the_way_out(tmp_path):
  import tensorflow_datasets as tfds

  from unlearnjax.data.builders import read_prepared

  class Records(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = "mnist"
    VERSION = tfds.core.Version("3.0.1")

    def _info(self):
      features = {
        "image": tfds.features.Tensor(shape=(2, 2, 1), dtype=np.uint8),
        "label": tfds.features.Scalar(np.int64),
      }
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
      yield 0, {"image": np.zeros((2, 2, 1), np.uint8), "label": 0}

  builder = Records(data_dir=str(tmp_path), file_format="array_record")
  builder.download_and_prepare()
  info = builders.prepared("mnist", tmp_path) / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  with pytest.raises(ValueError, match="only TensorFlow reads: prepare it again with file_format='array_record'"):
    read_prepared("mnist", tmp_path)
