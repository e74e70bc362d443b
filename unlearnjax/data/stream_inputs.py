"""Streams in which all classes come in every task, and the inputs change: permuted pixels, turned images, new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples
from unlearnjax.core.types import Task
from unlearnjax.data.datasets import TEST_IDS, Dataset
from unlearnjax.data.splits import as_dataset
from unlearnjax.data.streams import TaskStream, classification


def permuted(
  dataset: Dataset | str, *, tasks: int = 5, seed: int = 0, keep_first: bool = True, known_task: bool = False
) -> TaskStream:
  """All classes in every task, the pixels permuted by another permutation in each.

  Args:
    dataset: images or vectors with labels, or the name of such a set.
    tasks: how many. The table holds a copy of the data a task.
    seed: draws the permutations.
    keep_first: leaves the first task as it is; the code of GEM permutes it too.
    known_task: gives test rows the column "task": learners that keep the tasks apart may read it.

  Example:
    >>> stream = permuted("digits", tasks=3)
    >>> [len(task.train) for task in stream], stream.num_outputs
    ([1438, 1438, 1438], 10)
  """
  dataset = as_dataset(dataset)
  size = int(np.prod(dataset.input_shape))
  rng = np.random.default_rng([seed, 1])
  orders = [rng.permutation(size) for _ in range(max(tasks, 0))]
  if keep_first and orders:
    orders[0] = np.arange(size)

  def change(x: np.ndarray, task: int) -> np.ndarray:
    return x.reshape(len(x), -1)[:, orders[task]].reshape(x.shape)

  return _by_input(dataset, "permuted", tasks, change, known_task)


def rotated(
  dataset: Dataset | str,
  *,
  tasks: int = 5,
  degrees: float | Sequence[float] = 180.0,
  fill: float | None = None,
  known_task: bool = False,
) -> TaskStream:
  """All classes in every task, the images turned by another angle in each.

  Args:
    dataset: images [H, W, channels] with labels, or the name of such a set.
    tasks: how many.
    degrees: one angle a task; a number spreads the tasks evenly over [0, degrees).
    fill: value of the corners that come in; the smallest value of a pixel by default.
    known_task: gives test rows the column "task".

  Raises:
    ValueError: inputs that are no images, or another number of angles than tasks.

  Example:
    >>> [round(float(t.train.column("angle")[0]), 1) for t in rotated("digits", tasks=4, degrees=80)]
    [0.0, 20.0, 40.0, 60.0]
  """
  dataset = as_dataset(dataset)
  return _turned(dataset, "rotated", tasks, degrees, fill, known_task, None)


def instances(
  dataset: Dataset | str,
  *,
  tasks: int = 5,
  growth: float = 2.0,
  degrees: float | Sequence[float] = 0.0,
  fill: float | None = None,
  seed: int = 0,
  known_task: bool = False,
) -> TaskStream:
  """New examples of the same classes in every task, more of them each time, and turned by another angle.

  Every training row belongs to one task: task t has a share of each class in proportion to growth^t. All test rows are
  asked in every task, turned as it is. Where little is known of the first tasks, later ones can teach them something:
  a stream on which backward transfer is possible. "New instances" of Lomonaco and Maltoni, CoRL 2017, arXiv:1705.03550,
  with tasks that grow.

  Args:
    dataset, tasks, degrees, fill, known_task: as for `rotated`; 0 degrees leaves the images as they are.
    growth: > 0; 1 for tasks of one size.
    seed: deals the rows out.

  Raises:
    ValueError: as for `rotated`, or a class with too few rows for all tasks.

  Example:
    >>> [len(task.train) for task in instances("digits", tasks=4, growth=3.0)]
    [39, 104, 322, 973]
  """
  dataset = classification(as_dataset(dataset))
  check.positive("tasks", tasks)
  check.positive("growth", growth)
  rng, y = np.random.default_rng([seed, 4]), dataset.train.column("y")
  ends = np.cumsum(float(growth) ** np.arange(tasks))
  place = np.zeros(len(y), np.int64)
  for c in range(dataset.num_classes):
    mine = rng.permutation(np.flatnonzero(y == c))
    cuts = np.round(len(mine) * ends / ends[-1]).astype(int)
    if np.diff(cuts, prepend=0).min(initial=1) < 1:
      raise ValueError(
        f"{len(mine)} rows of class {dataset.classes[c]!r} are too few for {tasks} tasks that grow by {growth}"
      )
    place[mine] = np.searchsorted(cuts, np.arange(len(mine)), side="right")
  return _turned(
    dataset, "instances", tasks, degrees, fill, known_task, [np.flatnonzero(place == t) for t in range(tasks)]
  )


def _turned(dataset, scenario, tasks, degrees, fill, known_task, dealt) -> TaskStream:
  if len(dataset.input_shape) != 3:
    raise ValueError(f"{scenario} needs images [H, W, channels], but {dataset.name!r} has inputs {dataset.input_shape}")
  check.positive("tasks", tasks)
  angles = [degrees * t / tasks for t in range(tasks)] if np.ndim(degrees) == 0 else [float(d) for d in degrees]
  if len(angles) != tasks:
    raise ValueError(f"degrees must hold one angle a task, got {len(angles)} for {tasks} tasks")
  lowest = dataset.value_range[0] if dataset.value_range else float(dataset.train.columns["x"].min())

  def change(x: np.ndarray, task: int) -> np.ndarray:
    return rotate(x, angles[task], lowest if fill is None else fill)

  return _by_input(dataset, scenario, tasks, change, known_task, dealt, angle=np.float32(angles))


def rotate(x: np.ndarray, degrees: float, fill: float = 0.0) -> np.ndarray:
  """Images [n, H, W, channels] turned counter-clockwise about their centre, bilinear.

  Example:
    >>> x = np.arange(4.0, dtype=np.float32).reshape(1, 2, 2, 1)
    >>> rotate(x, 90).reshape(2, 2).tolist()
    [[1.0, 3.0], [0.0, 2.0]]
  """
  if degrees % 360 == 0:
    return x
  h, w = x.shape[1:3]
  angle, (cy, cx) = np.deg2rad(degrees), ((h - 1) / 2, (w - 1) / 2)
  rows, columns = np.mgrid[:h, :w].astype(np.float64)
  dy, dx = rows - cy, columns - cx
  sy = np.round(cy + np.cos(angle) * dy + np.sin(angle) * dx, 9)
  sx = np.round(cx - np.sin(angle) * dy + np.cos(angle) * dx, 9)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
  sy, sx = np.clip(sy + 1, 0, h + 1), np.clip(sx + 1, 0, w + 1)
  top, left = np.minimum(sy.astype(int), h), np.minimum(sx.astype(int), w)
  fy, fx = (sy - top)[..., None], (sx - left)[..., None]
  at = lambda i, j: padded[:, i, j]
  upper = (1 - fx) * at(top, left) + fx * at(top, left + 1)
  lower = (1 - fx) * at(top + 1, left) + fx * at(top + 1, left + 1)
  return ((1 - fy) * upper + fy * lower).astype(x.dtype)


def _by_input(
  dataset: Dataset,
  scenario: str,
  tasks: int,
  change: Callable,
  known_task: bool,
  dealt: Sequence[np.ndarray] | None = None,
  **per_task: np.ndarray,
) -> TaskStream:
  """All classes in every task, the inputs changed by `change(x, task)`: one table that holds a copy a task.

  `dealt` names the training rows of each task; all of them by default.
  """
  classification(dataset)
  check.positive("tasks", tasks)
  tables, ends = {}, {}
  for part, source in (("train", dataset.train), ("test", dataset.test)):
    mine = dealt if dealt is not None and part == "train" else [np.arange(len(source))] * tasks
    sizes = [len(rows) for rows in mine]
    every, ends[part] = np.concatenate(mine), np.cumsum([0, *sizes])
    offset = 0 if part == "train" else max(TEST_IDS, tasks * len(dataset.train))
    x = source.column("x")
    columns = {
      "x": np.concatenate([change(x[rows], t) for t, rows in enumerate(mine)]),
      "y": source.column("y")[every],
      "id": offset + np.arange(len(every), dtype=np.int32),
      "origin": source.ids[every],
    }
    if part == "train" or known_task:
      columns["task"] = np.repeat(np.arange(tasks, dtype=np.int32), sizes)
    columns |= {name: np.repeat(values, sizes) for name, values in per_task.items()}
    tables[part] = Examples(columns)
  rows = lambda part, a, b: tables[part][ends[part][a] : ends[part][b]]
  past = lambda t: rows("train", 0, t) if t else None
  classes = tuple(range(dataset.num_classes))
  made = tuple(
    Task(f"{t}_{scenario}", t, rows("train", t, t + 1), rows("test", t, t + 1), classes, past(t)) for t in range(tasks)
  )
  title = f"{dataset.name}, {scenario}, {tasks} tasks"
  return TaskStream(title, scenario, made, dataset.num_classes, tables["train"], tables["test"], dataset.input_shape)
