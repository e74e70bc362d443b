"""TFDS data sets without TensorFlow: offline builders over the files below `UNLEARNJAX_DATA`, and a reader of prepared
copies, whoever prepared them.

Images are stored as raw bytes in array_record files, because the image feature of TFDS encodes through TensorFlow.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import numpy as np

from unlearnjax.core import check
from unlearnjax.data.readers import LAYOUTS, Table, data_directory, require_files

TFDS_VARIABLE = "TFDS_DATA_DIR"
_IMAGE_FEATURES = {"x": "image", "y": "label", "coarse": "coarse_label", "id": "id"}
_TABLE_FEATURES = {"x": "features", "y": "target", "id": "id"}
_COLUMN_NAMES = {"image": "x", "features": "x", "label": "y", "target": "y", "coarse_label": "coarse"}


def tfds_directory() -> pathlib.Path:
  """Where TFDS keeps prepared data: `TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
  return pathlib.Path(os.environ.get(TFDS_VARIABLE) or "~/tensorflow_datasets").expanduser()


def make_builder(name: str, *, source_dir: str | os.PathLike | None = None, data_dir: str | os.PathLike | None = None):
  """A TFDS builder for data set `name`, which reads local files and never downloads.

  It is not registered with TFDS, so it can live beside TFDS's own builder of that name. Features: `image` uint8 or
  `features` float32, `label` or `target`, `id` (the row in the published order), for CIFAR-100 `coarse_label`.

  Args:
    name: a data set that is read from files: mnist, fashion_mnist, cifar10, cifar100, olivetti, omniglot_small, fsdd,
      clinc150, banking77, california_housing, bike_sharing.
    source_dir: the directory with the published files; that of `UNLEARNJAX_DATA` by default.
    data_dir: where TFDS writes; `TFDS_DATA_DIR` or `~/tensorflow_datasets` by default.

  Raises:
    ValueError: an unknown name.
    FileNotFoundError: the files are not there.
  """
  check.one_of("name", name, LAYOUTS)
  files = require_files(name, pathlib.Path(source_dir) if source_dir is not None else data_directory())
  import tensorflow_datasets as tfds

  table = LAYOUTS[name].read(files, None)
  features = tfds.features
  image, labels = table.train["x"].dtype == np.uint8, bool(table.classes)
  keys = {**(_IMAGE_FEATURES if labels else _TABLE_FEATURES), "x": "image" if image else "features"}
  columns = {"id": features.Scalar(np.int64)}
  encoding = features.Encoding.BYTES if image else features.Encoding.NONE
  x = table.train["x"]
  columns[keys["x"]] = features.Tensor(shape=x.shape[1:], dtype=x.dtype.type, encoding=encoding)
  columns[keys["y"]] = features.ClassLabel(names=table.classes) if labels else features.Scalar(np.float32)
  if "coarse" in table.train:
    columns["coarse_label"] = features.ClassLabel(names=table.coarse_classes)
  dataset_name = name

  class LocalBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Local files as a TFDS data set."""

    name = dataset_name
    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # it has no file of checksums; TFDS would look for one through a package it does not install

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=features.FeaturesDict(columns))

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples(table.train), "test": self._generate_examples(table.test)}

    def _generate_examples(self, split):
      for i in range(len(split["id"])):
        row = {keys[column]: values[i] for column, values in split.items()}
        yield i, {key: value if np.ndim(value) else value.item() for key, value in row.items()}

  where = pathlib.Path(data_dir) if data_dir is not None else tfds_directory()
  return LocalBuilder(data_dir=str(where), file_format="array_record")


def prepare(
  name: str, *, source_dir: str | os.PathLike | None = None, data_dir: str | os.PathLike | None = None
) -> pathlib.Path:
  """Writes data set `name` as a TFDS data set, unless it is there, and returns its directory.

  Args and Raises: those of `make_builder`.

  Example:
    >>> from unlearnjax.data import load
    >>> prepare("mnist")  # doctest: +SKIP
    >>> mnist = load("mnist", via="tfds")  # doctest: +SKIP
  """
  builder = make_builder(name, source_dir=source_dir, data_dir=data_dir)
  builder.download_and_prepare()
  return pathlib.Path(str(builder.data_dir))


def prepared(name: str, data_dir: str | os.PathLike | None = None) -> pathlib.Path | None:
  """The directory of the newest version of TFDS data set `name` that can be read without TensorFlow, else of any, else
  None. Imports nothing."""
  root = (pathlib.Path(data_dir) if data_dir is not None else tfds_directory()) / name
  infos = [path for depth in ("*", "*/*") for path in root.glob(f"{depth}/dataset_info.json")]
  return max((path.parent for path in infos), key=_preference, default=None)


def _preference(directory: pathlib.Path) -> tuple[bool, list[int]]:
  file_format = json.loads((directory / "dataset_info.json").read_text()).get("fileFormat")
  version = [int(part) if part.isdigit() else -1 for part in directory.name.split(".")]
  return file_format in ("array_record", "parquet"), version


def read_prepared(name: str, data_dir: str | os.PathLike | None = None) -> Table:
  """Reads a prepared TFDS data set into memory, in id order.

  Ids come from the feature `id` (a number, or text that ends in `_` and a number); where there is none, they are the
  positions in the stored order.

  Raises:
    FileNotFoundError: no such data set is prepared.
    ValueError: it is stored in a format that needs TensorFlow, or its features are not those of `make_builder`.
  """
  where = prepared(name, data_dir)
  if where is None:
    root = data_dir if data_dir is not None else tfds_directory()
    raise FileNotFoundError(
      f"no prepared TFDS data set {name!r} below {root}: call data.prepare({name!r}), or set {TFDS_VARIABLE}"
    )
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(str(where))
  known = set(_COLUMN_NAMES) & set(builder.info.features)
  if {_COLUMN_NAMES[key] for key in known} < {"x", "y"}:
    raise ValueError(
      f"TFDS data set {where} must have the features image or features, and label or target; "
      f"got {sorted(builder.info.features)}"
    )
  try:
    splits = {split: _columns(builder.as_data_source(split=split), known) for split in ("train", "test")}
  except NotImplementedError as e:
    raise ValueError(
      f"TFDS data set {where} is stored as {builder.info.file_format}, which only TensorFlow reads: prepare it again "
      "with file_format='array_record'"
    ) from e
  names = {key: tuple(builder.info.features[key].names) for key in known & {"label", "coarse_label"}}
  return Table(splits["train"], splits["test"], names.get("label", ()), names.get("coarse_label", ()))


def _columns(source: Any, known: set[str]) -> dict[str, np.ndarray]:
  rows = [source[i] for i in range(len(source))]
  columns = {_COLUMN_NAMES[key]: np.stack([row[key] for row in rows]) for key in known}
  columns |= {key: columns[key].astype(np.int32) for key in columns if np.issubdtype(columns[key].dtype, np.int64)}
  columns["id"] = np.array([_row_number(row.get("id", i)) for i, row in enumerate(rows)], np.int32)
  order = np.argsort(columns["id"], kind="stable")
  return {key: column[order] for key, column in columns.items()}


def _row_number(value: Any) -> int:
  return int(value.decode().rsplit("_", 1)[-1]) if isinstance(value, bytes) else int(value)
