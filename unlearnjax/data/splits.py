"""Forget requests over a data set: by class, at random, by id, by sub-class, by a band of values.

Forget and retain sets are row lists over the one table of `dataset.train`: no request copies data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples
from unlearnjax.core.types import ForgetRequest
from unlearnjax.data.datasets import Dataset, load


def forget_class(dataset: Dataset | str, classes: int | str | Iterable[int | str]) -> ForgetRequest:
  """Forgets every training row of one or more classes.

  `extra` holds "test" (test rows of the classes that remain), "test_forget" (of those that go) and "test_all".

  Args:
    dataset: a classification data set, or the name of one.
    classes: labels in [0, C), or names of classes.

  Raises:
    ValueError: regression data, an unknown class, or no class that remains.

  Example:
    >>> request = forget_class("digits", 3)
    >>> request.classes, len(request.forget), len(request.retain), len(request.extra["test_forget"])
    ((3,), 146, 1292, 37)
    >>> request.forget.columns["x"] is request.retain.columns["x"]
    True
  """
  dataset = _classification(dataset)
  given = (classes,) if isinstance(classes, (int, np.integer, str)) else tuple(classes)
  labels = tuple(sorted({class_index(dataset.classes, c) for c in given}))
  if not labels:
    raise ValueError("classes must name at least one class, got none")
  if len(labels) == dataset.num_classes:
    raise ValueError(f"classes must leave at least one class of {dataset.name!r}, got all {len(labels)}")
  names = ", ".join(dataset.classes[c] for c in labels)
  return _by_label(dataset, "y", labels, f"class {names}")._replace(classes=labels)


def forget_random(dataset: Dataset | str, fraction: float, seed: int = 0) -> ForgetRequest:
  """Forgets a random fraction, in (0, 1), of the training rows: round(fraction * n), at least one.

  With one seed, larger fractions hold the smaller ones. `extra` holds "test".

  Raises:
    ValueError: a fraction outside (0, 1).

  Example:
    >>> request = forget_random("digits", 0.1)
    >>> len(request.forget), len(request.retain)
    (144, 1294)
  """
  check.fraction("fraction", fraction, one=False)
  dataset = as_dataset(dataset)
  total = len(dataset.train)
  count = min(max(1, round(fraction * total)), total - 1)
  chosen = np.zeros(total, bool)
  chosen[np.random.default_rng(seed).permutation(total)[:count]] = True
  return _request(dataset, chosen, f"random {fraction:g} (seed {seed})", {"test": dataset.test})


def forget_ids(dataset: Dataset | str, ids: Iterable[int]) -> ForgetRequest:
  """Forgets the training rows with these ids. `extra` holds "test".

  Raises:
    ValueError: no ids, or ids that are not in the training set.

  Example:
    >>> [int(i) for i in forget_ids("digits", [4, 1, 0]).forget.ids]
    [0, 1, 4]
  """
  dataset = as_dataset(dataset)
  ids = np.unique(np.asarray(list(ids), np.int64))
  if not len(ids):
    raise ValueError("ids must name at least one row, got none")
  dataset.train.select(ids)  # raises for ids that do not exist
  return _request(dataset, np.isin(dataset.train.ids, ids), f"{len(ids)} ids", {"test": dataset.test})


def forget_subclass(dataset: Dataset | str, coarse: int | str, fine: int | str) -> tuple[Dataset, ForgetRequest]:
  """Forgets a fine class inside its superclass, while the model predicts superclasses.

  Returns:
    The data set with superclasses as "y" and the fine labels in the column "fine" (images stay shared), and the
    request, whose `extra` holds "test" (all other test rows), "test_forget" (those of the fine class) and "test_all".
    No label disappears, so `classes` is empty.

  Raises:
    ValueError: a data set without the column "coarse", an unknown class, or a fine class of another superclass.

  Example:
    >>> y = np.array([0, 1, 2, 0])
    >>> rows = Examples({"x": np.zeros((4, 2), np.float32), "y": y, "coarse": y // 2})
    >>> toy = Dataset("toy", rows, rows, ("cat", "dog", "oak"), "classification", None, ("animal", "tree"))
    >>> relabelled, request = forget_subclass(toy, "animal", "cat")
    >>> [int(i) for i in request.forget.ids], request.retain.column("y").tolist(), relabelled.classes
    ([0, 3], [0, 1], ('animal', 'tree'))
  """
  dataset = _classification(dataset)
  if "coarse" not in dataset.train.columns:
    raise ValueError(f"forget_subclass needs a column 'coarse' (cifar100 has one); {dataset.name!r} has none")
  inner, outer = class_index(dataset.classes, fine), class_index(dataset.coarse_classes, coarse, "coarse")
  found = np.unique(dataset.train.column("coarse")[dataset.train.column("y") == inner])
  if outer not in found:
    own = ", ".join(dataset.coarse_classes[c] for c in found)
    raise ValueError(
      f"fine class {dataset.classes[inner]!r} belongs to {own}, not to {dataset.coarse_classes[outer]!r}"
    )
  relabelled = dataset._replace(
    train=_coarse_labels(dataset.train), test=_coarse_labels(dataset.test), classes=dataset.coarse_classes
  )
  reason = f"sub-class {dataset.classes[inner]} of {dataset.coarse_classes[outer]}"
  return relabelled, _by_label(relabelled, "fine", (inner,), reason)


def forget_range(
  dataset: Dataset | str,
  low: float | None = None,
  high: float | None = None,
  *,
  quantile: tuple[float, float] | None = None,
) -> ForgetRequest:
  """Forgets the training rows whose target lies in the closed band [low, high].

  `extra` holds "test" (test rows outside the band), "test_forget" (inside) and "test_all".

  Args:
    dataset: a regression data set, or the name of one.
    low, high: ends in the units of "y" (standardised for data sets from `load`); a missing end is open.
    quantile: instead of them, two quantiles of the training targets in [0, 1]: (0, 0.25) is the lowest quarter.

  Raises:
    ValueError: classification data, both or neither way of naming the band, or a band that holds no row or all rows.

  Example:
    >>> request = forget_range("diabetes", quantile=(0, 0.25))
    >>> len(request.forget), len(request.retain)
    (89, 265)
    >>> bool(request.forget.column("y").max() <= request.retain.column("y").min())
    True
  """
  dataset = as_dataset(dataset)
  if dataset.task != "regression":
    raise ValueError(f"forget_range needs a regression data set; {dataset.name!r} is for {dataset.task}")
  if (quantile is None) == (low is None and high is None):
    raise ValueError("forget_range needs either low and/or high, or quantile")
  y = dataset.train.column("y")
  if quantile is not None:
    if len(quantile) != 2 or not 0 <= quantile[0] < quantile[1] <= 1:
      raise ValueError(f"quantile must be two increasing numbers in [0, 1], got {quantile}")
    low, high = np.quantile(y, quantile)
  low, high = -np.inf if low is None else low, np.inf if high is None else high
  inside = (y >= low) & (y <= high)
  if inside.all() or not inside.any():
    raise ValueError(
      f"the band [{low:g}, {high:g}] must hold some but not all training targets, which lie in "
      f"[{y.min():g}, {y.max():g}]; it holds {inside.sum()} of {len(y)}"
    )
  y_test = dataset.test.column("y")
  extra = _test_parts(dataset, (y_test >= low) & (y_test <= high))
  return _request(dataset, inside, f"targets in [{low:g}, {high:g}]", extra)


def validate(request: ForgetRequest, dataset: Dataset | None = None) -> ForgetRequest:
  """Returns `request` if it can be honoured.

  Args:
    request: forget and retain sources, ids, classes.
    dataset: where given, ids must be in its training set and classes in its range.

  Raises:
    ValueError: an empty forget set, rows in both sets, ids that do not exist, or a class out of range.

  Example:
    >>> validate(forget_class("digits", 3)).classes
    (3,)
  """
  forget = _values(request.forget, "id")
  if not len(forget):
    raise ValueError("the forget set must hold at least one row, got none")
  retain = _values(request.retain, "id") if request.retain is not None else forget[:0]
  both = np.intersect1d(forget, retain)
  if len(both):
    raise ValueError(f"forget and retain must not overlap, but share {len(both)} ids: {both[:5].tolist()}")
  known = dataset.train.ids if dataset is not None else forget
  asked = np.concatenate([forget, np.asarray(forget if request.ids is None else request.ids)])
  missing = np.setdiff1d(asked, known)
  if len(missing):
    where = f"the training set of {dataset.name!r}" if dataset is not None else "the forget set"
    raise ValueError(f"ids that do not exist in {where}: {missing[:5].tolist()} ({len(missing)} in all)")
  if request.classes:
    present = range(dataset.num_classes) if dataset is not None else np.unique(_values(request.forget, "y")).tolist()
    strange = [c for c in request.classes if c not in present]
    if strange:
      limits = f"[0, {dataset.num_classes})" if dataset is not None else f"the labels {present} of the forget set"
      raise ValueError(f"classes must lie in {limits}, got {strange}")
  return request


def class_index(classes: tuple[str, ...], value: int | str, argument: str = "class") -> int:
  """The label of a class given by label, by its digits or by name. Raises ValueError for an unknown one."""
  if isinstance(value, str):
    if value in classes:
      return classes.index(value)
    if not re.fullmatch(r"-?\d+", value):
      known = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
      raise ValueError(f"{argument} must be one of {known}, or a label in [0, {len(classes)}); got {value!r}")
  label = int(value)
  if not 0 <= label < len(classes):
    raise ValueError(f"{argument} must be in [0, {len(classes)}), got {label}")
  return label


def as_dataset(dataset: Dataset | str) -> Dataset:
  """Loads a data set that is given by name."""
  dataset = load(dataset) if isinstance(dataset, str) else dataset
  check.kind("dataset", dataset, Dataset, "a Dataset such as uj.data.load returns, or the name of one")
  return dataset


def _classification(dataset: Dataset | str) -> Dataset:
  dataset = as_dataset(dataset)
  if dataset.task != "classification":
    raise ValueError(f"classes can only be forgotten in classification; {dataset.name!r} is for {dataset.task}")
  return dataset


def _values(source, name: str) -> np.ndarray:
  if isinstance(source, Examples):
    return source.column(name)
  return np.array([int(source[i][name]) for i in range(len(source))], np.int64)


def _coarse_labels(examples: Examples) -> Examples:
  columns = {**examples.columns, "fine": examples.columns["y"], "y": examples.columns["coarse"]}
  return Examples(columns, examples.rows)


def _by_label(dataset: Dataset, column: str, labels: tuple[int, ...], reason: str) -> ForgetRequest:
  extra = _test_parts(dataset, np.isin(dataset.test.column(column), labels))
  return _request(dataset, np.isin(dataset.train.column(column), labels), reason, extra)


def _test_parts(dataset: Dataset, forget: np.ndarray) -> dict[str, Examples]:
  test = dataset.test
  return {"test": test.where(~forget), "test_forget": test.where(forget), "test_all": test}


def _request(dataset: Dataset, forget: np.ndarray, reason: str, extra: dict[str, Examples]) -> ForgetRequest:
  chosen = dataset.train.where(forget)
  return validate(ForgetRequest(chosen, dataset.train.where(~forget), chosen.ids, reason, extra))
