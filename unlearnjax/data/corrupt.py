"""Corrective unlearning: training data with manipulated rows, of which only a part is known.

Corrective Machine Unlearning, Goel et al., TMLR 2024, arXiv:2402.14015. Every corruption returns the corrupted data set
and its manipulated rows. The training table gets the column "y_clean" with the true labels; columns that did not change
are shared with the clean data set; `Dataset.affected` holds the test rows, with true labels, on which the damage shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples
from unlearnjax.core.types import ForgetRequest
from unlearnjax.data.datasets import Dataset
from unlearnjax.data.splits import class_index, validate

CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")


def noisy_labels(dataset: Dataset, fraction: float, seed: int = 0) -> tuple[Dataset, Examples]:
  """Gives a random fraction of the training rows a wrong label, uniform over the other classes.

  The whole test set is affected.

  Args:
    dataset: a classification data set.
    fraction: of the training rows, in (0, 1].
    seed: of the rows and their labels.

  Raises:
    ValueError: a fraction outside (0, 1], or regression data.

  Example:
    >>> from unlearnjax.data import load
    >>> noisy, manipulated = noisy_labels(load("digits"), 0.1)
    >>> len(manipulated), bool((manipulated.column("y") == manipulated.column("y_clean")).any())
    (144, False)
  """
  check.fraction("fraction", fraction)
  rng = np.random.default_rng(seed)
  rows = _draw(rng, np.arange(len(dataset.train)), _count(fraction, len(dataset.train)))
  labels = _labels(dataset)[rows]
  corrupted, manipulated = _relabel(dataset, rows, relabel_random(rng, labels, dataset.num_classes, exclude_true=True))
  return corrupted._replace(affected=dataset.test), manipulated


def backdoor(
  dataset: Dataset,
  count: int | None = None,
  *,
  fraction: float | None = None,
  size: int = 3,
  target: int | str = 0,
  seed: int = 0,
) -> tuple[Dataset, Examples]:
  """Poisons random training images: a patch of the highest pixel value, bottom right, and the label `target` (BadNets).

  All test images with the patch and their true labels are affected; those of class `target` are right for the wrong
  reason, as in the paper.

  Args:
    dataset: a classification data set of images.
    count: how many training rows of any class; or `fraction` of them, in (0, 1].
    size: side of the patch in pixels.
    target: label or name of the class.
    seed: of the rows.

  Raises:
    ValueError: both or neither of `count` and `fraction`, more rows than there are, no images, or a patch that does not
      fit.

  Example:
    >>> from unlearnjax.data import load
    >>> poisoned, manipulated = backdoor(load("digits"), count=20)
    >>> manipulated[0]["x"][5:, 5:, 0].tolist(), int(manipulated[0]["y"])
    ([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], 0)
  """
  if (count is None) == (fraction is None):
    raise ValueError(f"backdoor needs either count or fraction, got count={count} and fraction={fraction}")
  if dataset.value_range is None:
    raise ValueError(f"backdoor needs images with a value_range; {dataset.name!r} has none")
  _labels(dataset)
  total = len(dataset.train)
  if fraction is not None:
    check.fraction("fraction", fraction)
    count = _count(fraction, total)
  if not 0 < count <= total:
    raise ValueError(f"count must be in [1, {total}], got {count}")
  rows = _draw(np.random.default_rng(seed), np.arange(total), count)
  label = class_index(dataset.classes, target, "target")
  value = dataset.value_range[1]
  corrupted, manipulated = _relabel(dataset, rows, np.full(len(rows), label))
  manipulated = manipulated.replace(x=patch_trigger(manipulated.column("x"), size, value))
  affected = dataset.test.replace(x=patch_trigger(dataset.test.column("x"), size, value))
  train = Examples(manipulated.columns, corrupted.train.rows)
  return corrupted._replace(train=train, affected=affected), manipulated


def interclass_confusion(
  dataset: Dataset, a: int | str, b: int | str, fraction: float, seed: int = 0
) -> tuple[Dataset, Examples]:
  """Swaps the labels of two classes on equally many rows of each: `fraction`, in (0, 1], of the smaller class.

  The test rows of the two classes are affected.

  Raises:
    ValueError: equal or unknown classes, a fraction outside (0, 1], or a class without training rows.

  Example:
    >>> from unlearnjax.data import load
    >>> confused, manipulated = interclass_confusion(load("digits"), 3, 5, 0.5)
    >>> np.bincount(manipulated.column("y"), minlength=6).tolist()
    [0, 0, 0, 73, 0, 73]
  """
  check.fraction("fraction", fraction)
  y = _labels(dataset)
  a, b = class_index(dataset.classes, a, "a"), class_index(dataset.classes, b, "b")
  if a == b:
    raise ValueError(f"a and b must be two classes, got {a} twice")
  members = [np.flatnonzero(y == label) for label in (a, b)]
  if not all(len(rows) for rows in members):
    raise ValueError(f"both classes need training rows, got {len(members[0])} of {a} and {len(members[1])} of {b}")
  rng = np.random.default_rng(seed)
  count = _count(fraction, min(map(len, members)))
  rows = np.sort(np.concatenate([_draw(rng, of, count) for of in members]))
  corrupted, manipulated = _relabel(dataset, rows, a + b - y[rows])
  return corrupted._replace(affected=dataset.test.where(np.isin(dataset.test.column("y"), (a, b)))), manipulated


def corrective_request(
  corrupted: Dataset, manipulated: Examples, known_fraction: float, seed: int = 0
) -> ForgetRequest:
  """Asks to undo a corruption of which only a part of the rows, S_f within S_m, is known.

  `forget` is S_f; `retain` is D minus S_f, which still holds S_m minus S_f with wrong labels. With one seed, larger
  known fractions hold the smaller ones. `extra` holds

  * "manipulated": S_m with its true labels;
  * "test_affected": `corrupted.affected`, true labels; accuracy there must rise;
  * "test": clean test rows outside the affected domain (confusion: the other classes; backdoor: all, without the patch;
    noisy labels affect everything: all); "test_all": all clean test rows;
  * "clean_retain": D minus S_m, on which the oracle is trained.

  Args:
    corrupted, manipulated: what a corruption returned.
    known_fraction: |S_f| / |S_m| in (0, 1].
    seed: of the known rows.

  Raises:
    ValueError: a fraction outside (0, 1], or a data set that no corruption made.

  Example:
    >>> from unlearnjax.data import load
    >>> request = corrective_request(*backdoor(load("digits"), count=20), known_fraction=0.1)
    >>> len(request.forget), len(request.retain), len(request.extra["clean_retain"])
    (2, 1436, 1418)
  """
  check.fraction("known_fraction", known_fraction)
  if corrupted.affected is None or "y_clean" not in manipulated.columns:
    raise ValueError("corrective_request needs the pair that noisy_labels, backdoor or interclass_confusion returned")
  count = _count(known_fraction, len(manipulated))
  forget = manipulated[_draw(np.random.default_rng(seed), np.arange(len(manipulated)), count)]
  test, affected = corrupted.test, corrupted.affected
  part = affected.columns["x"] is test.columns["x"] and len(affected) < len(test)
  extra = {
    "manipulated": manipulated.replace(y=manipulated.column("y_clean")),
    "test_affected": affected,
    "test": test.without(affected) if part else test,
    "test_all": test,
    "clean_retain": corrupted.train.without(manipulated),
  }
  reason = f"corrective: {count} of {len(manipulated)} manipulated rows known"
  return validate(ForgetRequest(forget, corrupted.train.without(forget), forget.ids, reason, extra), corrupted)


def relabel_random(
  rng: int | np.random.Generator | jax.Array,
  labels: np.ndarray,
  num_classes: int,
  exclude_true: bool = False,
  exclude: Iterable[int] = (),
) -> np.ndarray:
  """Random labels int32[n], uniform over the classes that are left.

  Args:
    rng: a seed, a numpy generator or a typed JAX key.
    labels: int[n] true labels in [0, num_classes).
    num_classes: C.
    exclude_true: never draws the true label (the amnesiac variant).
    exclude: classes that are never drawn, such as those to forget.

  Raises:
    ValueError: labels out of range, or nothing left to draw for some row.

  Example:
    >>> relabel_random(0, np.array([0, 0, 1, 1]), 3, exclude_true=True, exclude=(2,)).tolist()
    [1, 1, 0, 0]
  """
  labels = np.asarray(labels)
  if labels.size and not (0 <= labels.min() and labels.max() < num_classes):
    raise ValueError(f"labels must be in [0, {num_classes}), got {labels.min()}..{labels.max()}")
  allowed = np.setdiff1d(np.arange(num_classes), np.fromiter(exclude, np.int64))
  place = np.searchsorted(allowed, labels)  # of the true label among the allowed ones, where it is one of them
  own = np.isin(labels, allowed) & exclude_true
  choices = len(allowed) - own
  if labels.size and choices.min() < 1:
    raise ValueError(f"no class is left to draw out of {num_classes} (exclude_true={exclude_true}, allowed {allowed})")
  drawn = generator(rng).integers(0, choices)
  return allowed[drawn + (own & (drawn >= place))].astype(np.int32)


def gaussian_relabel(rng: int | np.random.Generator | jax.Array, y: np.ndarray, mean: float, std: float) -> np.ndarray:
  """Targets float32 of the shape of `y`, drawn from N(mean, std^2): the moments of ALL training targets.

  Deep Regression Unlearning, Tarun et al., ICML 2023, arXiv:2210.08196.

  Raises:
    ValueError: std that is not positive.

  Example:
    >>> gaussian_relabel(0, np.zeros(3), 0.0, 1.0).shape
    (3,)
  """
  check.positive("std", std)
  return generator(rng).normal(mean, std, np.shape(y)).astype(np.float32)


def patch_trigger(
  images: np.ndarray, size: int, value: float | Sequence[float], corner: str = "bottom_right"
) -> np.ndarray:
  """Copies of images [..., H, W, C] with a size x size patch of `value` (one, or one a channel) in a corner.

  Raises:
    ValueError: a patch larger than the image, or an unknown corner.

  Example:
    >>> patch_trigger(np.zeros((1, 3, 3, 1)), 2, 9.0)[0, :, :, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 9.0, 9.0], [0.0, 9.0, 9.0]]
  """
  check.one_of("corner", corner, CORNERS)
  if np.ndim(images) < 3:
    raise ValueError(f"images must have shape [..., H, W, C], got {np.shape(images)}")
  height, width = images.shape[-3:-1]
  if not 0 < size <= min(height, width):
    raise ValueError(f"size must be in [1, {min(height, width)}], got {size}")
  vertical, horizontal = corner.split("_")
  rows = slice(0, size) if vertical == "top" else slice(height - size, height)
  columns = slice(0, size) if horizontal == "left" else slice(width - size, width)
  patched = np.array(images)
  patched[..., rows, columns, :] = value
  return patched


def generator(rng: int | np.random.Generator | jax.Array) -> np.random.Generator:
  """A numpy generator from a seed, a generator (returned as it is) or a typed JAX key."""
  if isinstance(rng, np.random.Generator):
    return rng
  if isinstance(rng, (int, np.integer)):
    return np.random.default_rng(rng)
  return np.random.default_rng(np.asarray(jax.random.key_data(rng)).ravel())


def _labels(dataset: Dataset) -> np.ndarray:
  if dataset.task != "classification":
    raise ValueError(f"corruptions need a classification data set; {dataset.name!r} is for {dataset.task}")
  return dataset.train.column("y")


def _count(fraction: float, total: int) -> int:
  return max(1, round(fraction * total))


def _draw(rng: np.random.Generator, rows: np.ndarray, count: int) -> np.ndarray:
  """`count` of `rows` in their order; of one generator state, more rows hold the fewer."""
  return np.sort(rng.permutation(rows)[:count])


def _relabel(dataset: Dataset, rows: np.ndarray, labels: np.ndarray) -> tuple[Dataset, Examples]:
  clean = dataset.train.column("y")
  y = clean.copy()
  y[rows] = labels
  train = dataset.train.replace(y=y, y_clean=clean)
  return dataset._replace(train=train), train[rows]
