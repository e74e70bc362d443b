"""Published data sets as they lie in their files: raw pixels or raw features, no scaling, no subsets.

A reader turns the files of one data set into a `Table`. Ids are row numbers in the published order. Sets without a
published test split get one that never changes: it depends on no seed of the caller.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from unlearnjax.data.read_features import read_banking, read_clinc, read_spoken
from unlearnjax.data.tables import Table, arrays_of, class_ranks, columns_of, fifth, split_rows

VARIABLE = "UNLEARNJAX_DATA"
SHARD = 10_000
"""Rows of one CIFAR training file."""


class Layout(NamedTuple):
  """The files of a data set below the data directory, what they hold in words, and how they are read.

  `read(directory, rows)` may stop once it has `rows` training rows; None reads all.
  """

  files: tuple[str, ...]
  holds: str
  read: Callable[[pathlib.Path, int | None], Table]


def data_directory() -> pathlib.Path | None:
  """The directory that `UNLEARNJAX_DATA` names, else `shared/data` beside the source tree, else None."""
  named = os.environ.get(VARIABLE)
  if named:
    return pathlib.Path(named).expanduser()
  beside = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
  return beside if beside.is_dir() else None


def read_digits() -> Table:
  from sklearn.datasets import load_digits

  raw = load_digits()
  y = raw.target.astype(np.int32)
  test = class_ranks(y, np.random.default_rng(0)) < np.round(0.2 * np.bincount(y))[y]
  return split_rows({"x": raw.images[..., None].astype(np.uint8), "y": y}, test, classes=tuple(map(str, range(10))))


def read_diabetes() -> Table:
  from sklearn.datasets import load_diabetes

  x, y = load_diabetes(return_X_y=True, scaled=False)
  return split_rows({"x": x.astype(np.float32), "y": y.astype(np.float32)}, fifth(len(y)))


def _mnist_like(file: str, names: str | None) -> Callable[[pathlib.Path, int | None], Table]:
  def read(directory: pathlib.Path, rows: int | None) -> Table:
    x, y, x_test, y_test = arrays_of(directory / file, "x_train", "y_train", "x_test", "y_test")
    classes = json.loads((directory / names).read_text()) if names else map(str, range(10))
    return Table(columns_of(x[..., None], y), columns_of(x_test[..., None], y_test), tuple(classes))

  return read


def _strips(path: pathlib.Path, *labels: str) -> list[np.ndarray]:
  """Images uint8[n, 32, 32, 3] from lossless WebP strips, followed by the label arrays."""
  from PIL import Image

  webp, offsets, *found = arrays_of(path, "webp", "offsets", *labels)
  data = webp.tobytes()
  strips = (Image.open(io.BytesIO(data[a:b])).convert("RGB") for a, b in zip(offsets[:-1], offsets[1:], strict=True))
  return [np.concatenate([np.asarray(strip).reshape(-1, 32, 32, 3) for strip in strips]), *found]


def _cifar(directory: pathlib.Path, rows: int | None, test: str, labels: tuple[str, ...]) -> Table:
  shards = sorted(directory.glob("train_*.npz"), key=lambda path: int(path.stem.split("_")[1]))
  parts = [_strips(path, *labels) for path in shards[: None if rows is None else -(-rows // SHARD)]]
  x, y, *coarse = (np.concatenate(column) for column in zip(*parts))
  x_test, y_test, *coarse_test = _strips(directory / test, *labels)
  meta = json.loads((directory / "meta.json").read_text())
  return Table(
    columns_of(x, y, **dict(zip(("coarse",), coarse))),
    columns_of(x_test, y_test, **dict(zip(("coarse",), coarse_test))),
    tuple(meta["classes"]),
    tuple(meta.get("superclasses", ())),
  )


def _read_cifar10(directory: pathlib.Path, rows: int | None) -> Table:
  return _cifar(directory / "cifar10", rows, "test.npz", ("label",))


def _read_cifar100(directory: pathlib.Path, rows: int | None) -> Table:
  return _cifar(directory / "cifar100", rows, "test_0.npz", ("label", "coarse_label"))


def _read_olivetti(directory: pathlib.Path, rows: int | None) -> Table:
  x, y = arrays_of(directory / "faces_olivetti" / "olivetti_64x64.npz", "image", "subject")
  test = np.array([np.sum(y[:i] == y[i]) >= 8 for i in range(len(y))])  # the last two photos of every person
  names = tuple(f"subject_{i}" for i in range(int(y.max()) + 1))
  return split_rows({"x": x[..., None], "y": y.astype(np.int32)}, test, classes=names)


def _read_omniglot(directory: pathlib.Path, rows: int | None) -> Table:
  folder = directory / "omniglot_small"
  packed, letter, alphabet, drawer = arrays_of(
    folder / "omniglot_small.npz", "image_packed", "character", "alphabet", "drawer"
  )
  ink = np.unpackbits(packed, axis=1, count=105 * 105).reshape(-1, 35, 3, 35, 3)
  x = ink.sum((2, 4), dtype=np.uint8)[..., None]  # 0 to 9 inked pixels of each 3 x 3 square
  meta = json.loads((folder / "meta.json").read_text())
  names = {"classes": tuple(meta["characters"]), "coarse_classes": tuple(meta["alphabets"])}
  labels = {"y": letter.astype(np.int32), "coarse": alphabet.astype(np.int32)}
  return split_rows({"x": x, **labels}, drawer > 16, **names)  # four of twenty drawers


def _csv(path: pathlib.Path, *names: str) -> dict[str, np.ndarray]:
  """Columns of numbers as float64; an empty cell is NaN."""
  with gzip.open(path, "rt", newline="") as file:
    rows = list(csv.DictReader(file))
  missing = [name for name in names if not rows or name not in rows[0]]
  if missing:
    raise ValueError(f"{path} must be a CSV table with the columns {', '.join(names)}; {missing} are missing")
  return {name: np.array([float(row[name]) if row[name] else np.nan for row in rows]) for name in names}


HOUSING_COLUMNS = ("median_income", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households")
BIKE_COLUMNS = ("season", "yr", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit")
BIKE_COLUMNS += ("temp", "atemp", "hum", "windspeed")


def _read_housing(directory: pathlib.Path, rows: int | None) -> Table:
  path = directory / "tabular" / "california_housing.csv.gz"
  c = _csv(path, *HOUSING_COLUMNS, "latitude", "longitude", "median_house_value")
  test = fifth(len(c["households"]))
  rooms, bedrooms, people = (c[name] / c["households"] for name in ("total_rooms", "total_bedrooms", "population"))
  bedrooms[np.isnan(bedrooms)] = np.nanmedian(bedrooms[~test])  # 207 blanks in the published file
  features = [c["median_income"], c["housing_median_age"], rooms, bedrooms, people, c["population"]]
  x = np.stack([*features, c["latitude"], c["longitude"]], axis=1).astype(np.float32)
  return split_rows({"x": x, "y": c["median_house_value"].astype(np.float32)}, test)


def _read_bike(directory: pathlib.Path, rows: int | None) -> Table:
  c = _csv(directory / "tabular" / "bike_sharing_hour.csv.gz", *BIKE_COLUMNS, "cnt")
  x = np.stack([c[name] for name in BIKE_COLUMNS], axis=1).astype(np.float32)
  return split_rows({"x": x, "y": c["cnt"].astype(np.float32)}, fifth(len(x)))


EMBEDDED: Mapping[str, Callable[[], Table]] = {"digits": read_digits, "diabetes": read_diabetes}

_IDX = "uint8 arrays x_train [n, 28, 28], y_train, x_test, y_test"
_STRIPS = "arrays webp (lossless strips of 32 x 32 RGB images), offsets and label"
LAYOUTS: Mapping[str, Layout] = {
  "mnist": Layout(("mnist/mnist.npz",), _IDX, _mnist_like("mnist/mnist.npz", None)),
  "fashion_mnist": Layout(
    ("fashion_mnist/fashion_mnist.npz", "fashion_mnist/classes.json"),
    f"{_IDX}; a JSON list of the class names",
    _mnist_like("fashion_mnist/fashion_mnist.npz", "fashion_mnist/classes.json"),
  ),
  "cifar10": Layout(
    ("cifar10/train_0.npz", "cifar10/test.npz", "cifar10/meta.json"),
    f"{_STRIPS}, 10,000 images a file (train_1.npz and later ones are read too); JSON with 'classes'",
    _read_cifar10,
  ),
  "cifar100": Layout(
    ("cifar100/train_0.npz", "cifar100/test_0.npz", "cifar100/meta.json"),
    f"{_STRIPS}, coarse_label; JSON with 'classes' and 'superclasses'",
    _read_cifar100,
  ),
  "olivetti": Layout(
    ("faces_olivetti/olivetti_64x64.npz",), "uint8 arrays image [400, 64, 64] and subject", _read_olivetti
  ),
  "omniglot_small": Layout(
    ("omniglot_small/omniglot_small.npz", "omniglot_small/meta.json"),
    "bit-packed images of 105 x 105, character, alphabet and drawer; JSON with 'characters' and 'alphabets'",
    _read_omniglot,
  ),
  "fsdd": Layout(
    ("fsdd/fsdd_8khz.npz", "fsdd/meta.json"),
    "arrays audio (int16, one recording after another), offsets, digit, speaker and index; JSON with 'speakers' and "
    "'sample_rate'",
    read_spoken,
  ),
  "clinc150": Layout(
    ("clinc150/train.jsonl.gz", "clinc150/test.jsonl.gz", "clinc150/domains.json"),
    "lines of JSON with text and label; JSON with the intents of every domain",
    read_clinc,
  ),
  "banking77": Layout(
    ("banking77/train.jsonl.gz", "banking77/test.jsonl.gz"), "lines of JSON with text and label", read_banking
  ),
  "california_housing": Layout(
    ("tabular/california_housing.csv.gz",), f"columns {', '.join(HOUSING_COLUMNS)}, ...", _read_housing
  ),
  "bike_sharing": Layout(
    ("tabular/bike_sharing_hour.csv.gz",), f"columns {', '.join(BIKE_COLUMNS)} and cnt", _read_bike
  ),
}


def missing_files(name: str, directory: pathlib.Path | None) -> tuple[str, ...]:
  """The files of data set `name` that `directory` lacks; all of them for None."""
  return tuple(f for f in LAYOUTS[name].files if directory is None or not (directory / f).is_file())


def require_files(name: str, directory: pathlib.Path | None) -> pathlib.Path:
  """`directory`, once it is sure to hold the files of data set `name`.

  Raises:
    FileNotFoundError: it does not; the message says where which file is expected and what it holds.
  """
  missing = missing_files(name, directory)
  if missing:
    raise FileNotFoundError(
      f"data set {name!r} needs {', '.join(missing)} below {directory or 'the data directory'}: "
      f"{LAYOUTS[name].holds}. Set {VARIABLE} (now {os.environ.get(VARIABLE)!r}) to the directory that holds "
      f"{LAYOUTS[name].files[0].split('/')[0]}/, or leave it unset and keep a TFDS copy in array_record format "
      "below TFDS_DATA_DIR"
    )
  return directory
