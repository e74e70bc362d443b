"""Data sets as values: two tables of examples, the names of the labels and the range of a pixel."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples
from unlearnjax.data import builders, readers
from unlearnjax.data.readers import EMBEDDED, LAYOUTS, VARIABLE, Table, class_ranks

TEST_IDS = 1_000_000
"""Ids of test rows start here, so that no test id is a training id."""


class Pixels(NamedTuple):
  """x = (pixel / maximum - mean) / std. One mean and std for all channels: clipping to [low, high] is then exact."""

  maximum: int
  mean: float
  std: float

  @property
  def value_range(self) -> tuple[float, float]:
    low, high = self.scale(np.array([0, self.maximum]))
    return float(low), float(high)

  def scale(self, pixels: np.ndarray) -> np.ndarray:
    x = pixels.astype(np.float32)
    x /= self.maximum
    x -= self.mean
    x /= self.std
    return x


PIXELS: Mapping[str, Pixels] = {  # mean and std over the published training split, in units of the maximum
  "digits": Pixels(16, 0.0, 1.0),
  "mnist": Pixels(255, 0.1307, 0.3081),
  "fashion_mnist": Pixels(255, 0.2860, 0.3530),
  "cifar10": Pixels(255, 0.4734, 0.2516),
  "cifar100": Pixels(255, 0.4782, 0.2682),
  "olivetti": Pixels(255, 0.5176, 0.1634),
  "omniglot_small": Pixels(9, 0.0, 1.0),
}

FEATURES: tuple[str, ...] = ("fsdd", "clinc150", "banking77")
"""Classes of things whose features the reader computes: spoken digits, intents of sentences."""

REGRESSION: tuple[str, ...] = ("california_housing", "diabetes", "bike_sharing")

NAMES: tuple[str, ...] = (*PIXELS, *FEATURES, *REGRESSION)
"""What `load` knows."""


class Dataset(NamedTuple):
  """A training table, a test table and what is known about them.

  Attributes:
    name: for messages and reports.
    train, test: columns "x" float32[n, ...], "y" (int32 labels or float32 targets) and "id"; the two share no id.
    classes: names of the labels 0..C-1; empty for regression.
    task: "classification" or "regression".
    value_range: (lowest, highest) value that a pixel can have in "x"; None where x are not images.
    coarse_classes: names of the groups in the column "coarse", where there is one: superclasses, alphabets, speakers,
      domains of intents.
    affected: test rows on which a corruption of the training data shows (see `data.backdoor`); None without one.

  Example:
    >>> digits = load("digits")
    >>> digits.input_shape, digits.num_classes, len(digits.train), len(digits.test)
    ((8, 8, 1), 10, 1438, 359)
  """

  name: str
  train: Examples
  test: Examples
  classes: tuple[str, ...]
  task: Literal["classification", "regression"]
  value_range: tuple[float, float] | None = None
  coarse_classes: tuple[str, ...] = ()
  affected: Examples | None = None

  @property
  def input_shape(self) -> tuple[int, ...]:
    """Shape of one example's "x"."""
    return self.train.columns["x"].shape[1:]

  @property
  def num_classes(self) -> int:
    """How many labels there are; 0 for regression."""
    return len(self.classes)


def load(
  name: str,
  *,
  train_size: int | None = None,
  test_size: int | None = None,
  seed: int = 0,
  via: Literal["files", "tfds"] | None = None,
  data_dir: str | os.PathLike | None = None,
) -> Dataset:
  """Reads a data set into memory.

  Images are float32 NHWC: digits in [0, 1], the others standardised by constants of their training split (`PIXELS`).
  Regression features and targets are standardised by the statistics of the whole training split, whatever
  `train_size` is. Spoken digits (fsdd) are log-mel energies [32, 32, 1] standardised by two numbers, sentences
  (clinc150, banking77) hashed words and pairs of words weighed by their rarity, 1024 numbers; both statistics are those
  of the whole training split (`data.features`). digits and diabetes come with scikit-learn; the other
  sets are read from the files below `UNLEARNJAX_DATA`, or from a prepared TFDS copy while that is unset. Sets without a
  published test split are split 80/20 once and for all (olivetti: the last 2 of 10 photos of every person;
  omniglot_small: the last 4 of 20 drawers). Out-of-scope sentences and the validation part of clinc150 are left out.

  Args:
    name: one of `NAMES`.
    train_size, test_size: rows to keep, balanced over the classes as far as they go; all by default. A larger subset of
      the same seed holds the smaller one, except that CIFAR subsets of up to 10,000 rows come from the first file.
    seed: chooses the subset, never the split. Ids are rows of the published order, so they do not depend on it.
    via: "files" or "tfds" insists on one origin.
    data_dir: the directory to read instead of that of `UNLEARNJAX_DATA` (or, via TFDS, of `TFDS_DATA_DIR`).

  Raises:
    ValueError: an unknown name, a size that the data set does not have, or values that are not finite.
    FileNotFoundError: the data are nowhere; the message says what is expected where.

  Example:
    >>> small = load("digits", train_size=100, test_size=50)
    >>> np.bincount(small.train.column("y")).tolist()
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    >>> int(small.test.ids.min()) >= 1_000_000
    True
  """
  check.one_of("name", name, NAMES)
  if via is not None:
    check.one_of("via", via, ("files", "tfds"))
  for argument, size in (("train_size", train_size), ("test_size", test_size)):
    if size is not None:
      check.positive(argument, size)
  table = _read(name, train_size, via, data_dir)
  if name.startswith("cifar") and train_size is not None:  # every origin draws from the rows that the files would give
    first = table.train["id"] < readers.SHARD * -(-train_size // readers.SHARD)
    table = table._replace(train={key: column[first] for key, column in table.train.items()})
  if name in REGRESSION:
    _refuse_not_finite(name, train=table.train, test=table.test)  # before one bad value spoils the mean of all
    table = _standardised(table)
  dataset = Dataset(
    name,
    _examples(name, "train_size", table.train, train_size, seed),
    _examples(name, "test_size", {**table.test, "id": table.test["id"] + TEST_IDS}, test_size, seed),
    table.classes,
    "regression" if name in REGRESSION else "classification",
    PIXELS[name].value_range if name in PIXELS else None,
    table.coarse_classes,
  )
  check_finite(dataset)
  return dataset


def available() -> dict[str, str]:
  """Where each data set would come from, or what is missing.

  Example:
    >>> available()["digits"]
    'embedded in scikit-learn'
  """
  return {name: _origin(name) for name in NAMES}


def check_finite(dataset: Dataset) -> None:
  """Refuses data with NaN or infinite values.

  Raises:
    ValueError: naming the split, the column, the count and the first id.

  Example:
    >>> check_finite(load("diabetes"))
  """
  splits = {split: getattr(dataset, split) for split in ("train", "test")}
  _refuse_not_finite(
    dataset.name, **{split: {name: part.column(name) for name in ("x", "y", "id")} for split, part in splits.items()}
  )


def _refuse_not_finite(dataset: str, **splits: Mapping[str, np.ndarray]) -> None:
  for split, columns in splits.items():
    for name in ("x", "y"):
      values = columns[name]
      if not np.issubdtype(values.dtype, np.inexact) or np.isfinite(values).all():
        continue
      bad = ~np.isfinite(values.reshape(len(values), -1))
      raise ValueError(
        f"column {name!r} of the {split} split of {dataset!r} must be finite, got {bad.sum()} values that are not, "
        f"the first at id {columns['id'][bad.any(axis=1)][0]}"
      )


def _read(name: str, train_size: int | None, via: str | None, data_dir: str | os.PathLike | None) -> Table:
  if name in EMBEDDED:
    if via is not None:
      raise ValueError(f"via must be None for {name!r}, which is embedded in scikit-learn; got {via!r}")
    return EMBEDDED[name]()
  if via == "tfds":
    return builders.read_prepared(name, data_dir)
  directory = pathlib.Path(data_dir) if data_dir is not None else readers.data_directory()
  free = via is None and data_dir is None and not os.environ.get(VARIABLE)
  if free and readers.missing_files(name, directory) and builders.prepared(name) is not None:
    return builders.read_prepared(name)
  return LAYOUTS[name].read(readers.require_files(name, directory), train_size)


def _origin(name: str) -> str:
  if name in EMBEDDED:
    return "embedded in scikit-learn"
  directory = readers.data_directory()
  missing = readers.missing_files(name, directory)
  if not missing:
    return f"files below {directory}"
  if not os.environ.get(VARIABLE) and (copy := builders.prepared(name)) is not None:
    return f"TFDS copy in {copy}"
  return f"missing {', '.join(missing)} below {directory or VARIABLE + ' (unset)'}"


def _examples(name: str, argument: str, columns: dict[str, np.ndarray], size: int | None, seed: int) -> Examples:
  """The chosen rows in published order; pixels are scaled after the choice."""
  total = len(columns["id"])
  if size is not None and size > total:
    raise ValueError(f"{argument} must be at most {total}, which is what {name!r} has here; got {size}")
  if size is not None:
    rng = np.random.default_rng([seed, argument == "test_size"])
    ranks = rng.permutation(total) if name in REGRESSION else class_ranks(columns["y"], rng)
    rows = np.sort(np.lexsort((columns["y"], ranks))[:size])
    columns = {key: column[rows] for key, column in columns.items()}
  if name in PIXELS:
    columns = {**columns, "x": PIXELS[name].scale(columns["x"])}
  return Examples(columns)


def _standardised(table: Table) -> Table:
  """Features and targets to zero mean and unit variance over the training split."""
  train, test = dict(table.train), dict(table.test)
  for name in ("x", "y"):
    values = train[name].astype(np.float64)
    mean, std = values.mean(axis=0), values.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    for split in (train, test):
      split[name] = ((split[name] - mean) / std).astype(np.float32)
  return table._replace(train=train, test=test)
