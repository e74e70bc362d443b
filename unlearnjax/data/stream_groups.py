"""Streams whose tasks are groups that the data bring along, or windows of classes that overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Task
from unlearnjax.data.datasets import Dataset
from unlearnjax.data.splits import as_dataset
from unlearnjax.data.streams import TaskStream, classification, earlier, order_of, plain, without_task


def grouped(
  dataset: Dataset | str,
  *,
  tasks: int | None = None,
  column: str = "coarse",
  order: Sequence[int | str] | None = None,
  seed: int | None = None,
) -> TaskStream:
  """A task for each group of rows that the data know: a speaker, a domain of intents, an alphabet, a superclass.

  Labels stay as they are. Where every group has all classes, as speakers of digits, that is domain-incremental; where
  each has its own, as domains of intents, it is class-incremental with tasks that mean something. The task is unknown
  at test time.

  Args:
    dataset: a classification data set with that column in both tables, or the name of one.
    tasks: how many; it must divide the number of groups, and neighbours in the order form a task. All by default.
    column: int labels of groups.
    order: all groups in the order of their coming, labels or names of `dataset.coarse_classes`.
    seed: draws the order; not together with `order`.

  Raises:
    ValueError: a data set without the column, a number of tasks that does not divide the groups, groups without
      training or test rows, or an order that repeats or lacks groups.

  Example:
    >>> from unlearnjax.core import Examples
    >>> y = np.array([0, 1, 0, 1], np.int32)
    >>> rows = Examples({"x": np.zeros((4, 2), np.float32), "y": y, "coarse": np.array([0, 0, 1, 1], np.int32)})
    >>> spoken = Dataset("spoken", rows, rows, ("no", "yes"), "classification", None, ("Ann", "Bob"))
    >>> [(task.name, task.classes, len(task.train)) for task in grouped(spoken)]
    [('0_Ann', (0, 1), 2), ('1_Bob', (0, 1), 2)]
  """
  dataset = classification(as_dataset(dataset))
  for part in (dataset.train, dataset.test):
    if column not in part.columns:
      raise ValueError(
        f"grouped needs a column {column!r} (cifar100 has one); {dataset.name!r} has {sorted(part.columns)}"
      )
  count = int(dataset.train.column(column).max()) + 1
  names = dataset.coarse_classes if column == "coarse" and dataset.coarse_classes else tuple(map(str, range(count)))
  tasks = len(names) if tasks is None else tasks
  if not (1 <= tasks <= len(names) and len(names) % tasks == 0):
    raise ValueError(f"tasks must divide the {len(names)} groups of {dataset.name!r}, got {tasks}")
  labels = order_of(dataset, order, seed, names)
  place_of = np.argsort(labels) // (len(names) // tasks)
  train_place, test_place = (place_of[part.column(column)] for part in (dataset.train, dataset.test))
  train = dataset.train.replace(task=train_place.astype(np.int32))
  test, made = without_task(dataset.test), []
  for t in range(tasks):
    mine, asked = train.where(train_place == t), test.where(test_place == t)
    members = [names[g] for g in labels if place_of[g] == t]
    if not len(mine) or not len(asked):
      raise ValueError(f"task {t} (groups {', '.join(members)}) has no training or test rows")
    classes = tuple(int(c) for c in np.unique(mine.column("y")))
    name = plain(f"{t}_{'-'.join(members[:3])}")
    made.append(Task(name, t, mine, asked, classes, earlier(train, train_place, t)))
  title = f"{dataset.name}, {tasks} groups"
  return TaskStream(title, "group", tuple(made), dataset.num_classes, train, test, dataset.input_shape)


def overlapping(
  dataset: Dataset | str,
  *,
  window: int = 4,
  stride: int = 2,
  order: Sequence[int | str] | None = None,
  seed: int | None = None,
) -> TaskStream:
  """Tasks that share classes with their neighbours: classes 0-3, then 2-5, then 4-7, and so on; the task is known.

  The rows of a class are dealt out in equal parts over the tasks that hold it, so that no task sees a row of another.
  Each task has `window` outputs of its own: a class that two tasks share is one label in the one and another in the
  other, and what they share is the body below the heads. The column "class" holds the original label.

  Args:
    dataset: a classification data set, or the name of one.
    window: classes of a task, >= 1.
    stride: classes between the first of a task and the first of the next, in [1, window]; windows must end with the
      last class.
    order: all classes in the order of their coming, labels or names; 0, 1, 2, ... by default.
    seed: draws the order; not together with `order`.

  Raises:
    ValueError: windows that do not end with the last class, or leave classes out.

  Example:
    >>> stream = overlapping("digits")
    >>> [sorted(set(task.train.column("class").tolist())) for task in stream]
    [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    >>> [task.classes for task in stream][:2], stream.num_outputs
    ([(0, 1, 2, 3), (4, 5, 6, 7)], 16)
  """
  dataset = classification(as_dataset(dataset))
  total = dataset.num_classes
  check.positive("window", window)
  if not 1 <= stride <= window:
    raise ValueError(f"stride must be in [1, window={window}], so that no class is left out; got {stride}")
  if window > total or (total - window) % stride:
    raise ValueError(
      f"windows of {window} classes with stride {stride} must end with the last of the {total} classes of "
      f"{dataset.name!r}"
    )
  tasks, rank = (total - window) // stride + 1, np.argsort(order_of(dataset, order, seed))
  labels = np.argsort(rank)
  holders = [[t for t in range(tasks) if t * stride <= place < t * stride + window] for place in range(total)]
  tables, places = {}, {}
  for part, examples in (("train", dataset.train), ("test", dataset.test)):
    mine = rank[examples.column("y")]
    place = np.zeros(len(mine), np.int64)
    for k, among in enumerate(holders):
      rows = np.flatnonzero(mine == k)
      place[rows] = np.array(among)[np.arange(len(rows)) % len(among)]
    y = place * window + mine - place * stride
    columns = {"y": y.astype(np.int32), "class": examples.column("y"), "task": place.astype(np.int32)}
    tables[part], places[part] = examples.replace(**columns), place
  train, test, made = tables["train"], tables["test"], []
  for t in range(tasks):
    mine, asked = train.where(places["train"] == t), test.where(places["test"] == t)
    first = t * stride
    if not len(mine) or not len(asked):
      raise ValueError(f"task {t} (classes {labels[first : first + window].tolist()}) has no training or test rows")
    names = "-".join(dataset.classes[c] for c in labels[first : first + 3])
    classes = tuple(range(t * window, (t + 1) * window))
    made.append(Task(plain(f"{t}_{names}"), t, mine, asked, classes, earlier(train, places["train"], t)))
  title = f"{dataset.name}, {tasks} tasks of {window} classes, stride {stride}"
  return TaskStream(title, "overlap", tuple(made), tasks * window, train, test, dataset.input_shape)
