"""Streams of tasks for continual learning: selections of one table, in an order that is a value.

Every training row carries the column "task". Test rows carry it only where the scenario grants it (`task_incremental`,
`overlapping`, `known_task=True`): elsewhere a model that wants to know the task finds nothing to read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples
from unlearnjax.core.types import ModelFn, Task
from unlearnjax.data.datasets import Dataset
from unlearnjax.data.splits import as_dataset, class_index

KNOWN_TASK = ("task", "overlap")
"""Scenarios whose test rows carry their task."""


@dataclasses.dataclass(frozen=True, eq=False)
class TaskStream:
  """Tasks in order, and what is known about them: `uj.learn(method, model, stream, key=key)` walks through them.

  Attributes:
    name: for reports, e.g. "digits, 5 tasks, class".
    scenario: one of `scenarios.SCENARIOS`.
    tasks: in the order of learning.
    num_outputs: size of the head; it never grows, so that a whole stream compiles once.
    train: all rows of all tasks.
    test: all test rows of all tasks, each once.
    input_shape: of one example.

  Example:
    >>> stream = class_incremental("digits", tasks=5)
    >>> [task.classes for task in stream], stream.num_outputs
    ([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], 10)
    >>> stream.tasks[0].train.columns["x"] is stream.tasks[4].train.columns["x"]
    True
  """

  name: str
  scenario: str
  tasks: tuple[Task, ...]
  num_outputs: int
  train: Examples
  test: Examples
  input_shape: tuple[int, ...]

  def __iter__(self) -> Iterator[Task]:
    return iter(self.tasks)

  def __len__(self) -> int:
    return len(self.tasks)

  def head(self, fn: ModelFn) -> ModelFn:
    """The model function for this scenario: with one head a task where the task is known at test time."""
    if self.scenario not in KNOWN_TASK:
      return fn
    from unlearnjax.models import multi_head

    return multi_head(fn, tuple(task.classes for task in self.tasks))


def class_incremental(
  dataset: Dataset | str, *, tasks: int | None = None, order: Sequence[int | str] | None = None, seed: int | None = None
) -> TaskStream:
  """Each task brings new classes; at test time all classes seen so far compete and the task is unknown.

  Args:
    dataset: a classification data set, or the name of one.
    tasks: how many; it must divide the number of classes. 5 by default.
    order: all classes in the order of their coming, labels or names; 0, 1, 2, ... by default.
    seed: draws the order; not together with `order`.

  Raises:
    ValueError: regression data, a number of tasks that does not divide the classes, an order that repeats or lacks
      classes, or both order and seed.

  Example:
    >>> stream = class_incremental("digits", tasks=2, order=(9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
    >>> stream.tasks[0].classes, sorted(set(stream.tasks[0].train.column("y").tolist()))
    ((9, 8, 7, 6, 5), [5, 6, 7, 8, 9])
    >>> "task" in stream.test.columns
    False
  """
  return by_class(as_dataset(dataset), "class", tasks, order, seed)


def task_incremental(
  dataset: Dataset | str, *, tasks: int | None = None, order: Sequence[int | str] | None = None, seed: int | None = None
) -> TaskStream:
  """The tasks of `class_incremental` with the task known at test time: only the classes of one task compete.

  Test rows carry the column "task", and `stream.head(fn)` masks the logits by it.

  Example:
    >>> stream = task_incremental("digits", tasks=5)
    >>> sorted(set(stream.tasks[3].test.column("task").tolist()))
    [3]
  """
  return by_class(as_dataset(dataset), "task", tasks, order, seed)


def domain_incremental(
  dataset: Dataset | str, *, tasks: int | None = None, order: Sequence[int | str] | None = None, seed: int | None = None
) -> TaskStream:
  """The tasks of `class_incremental` with the labels 0..k-1 in every task: the same question about new inputs.

  The head has k = classes / tasks outputs. The column "class" holds the original label.

  Example:
    >>> stream = domain_incremental("digits", tasks=5)
    >>> stream.num_outputs, sorted(set(stream.tasks[3].test.column("y").tolist()))
    (2, [0, 1])
  """
  return by_class(as_dataset(dataset), "domain", tasks, order, seed)


def split(dataset: Dataset | str, *, tasks: int | None = None, scenario: Literal["class", "task", "domain"] = "class",
          order: Sequence[int | str] | None = None, seed: int | None = None) -> TaskStream:  # fmt: skip
  """The classes of a data set dealt out over tasks: `class_incremental`, `task_incremental` or `domain_incremental`.

  Example:
    >>> split("digits", scenario="domain").num_outputs
    2
  """
  check.one_of("scenario", scenario, ("class", "task", "domain"))
  return by_class(as_dataset(dataset), scenario, tasks, order, seed)


def classification(dataset: Dataset) -> Dataset:
  """The data set itself, when it has classes."""
  if dataset.task != "classification":
    raise ValueError(f"a stream needs classes; {dataset.name!r} is for {dataset.task}")
  return dataset


def order_of(dataset: Dataset, order, seed, names: tuple[str, ...] | None = None) -> np.ndarray:
  """All labels, of the classes or of things of other names, in the order of their coming."""
  names, kind = (dataset.classes, "classes") if names is None else (names, "groups")
  total = len(names)
  if order is None:
    return np.arange(total) if seed is None else np.random.default_rng([seed, 0]).permutation(total)
  if seed is not None:
    raise ValueError("order and seed exclude each other: the seed draws an order")
  labels = [class_index(names, c) for c in order]
  repeated = sorted({c for c in labels if labels.count(c) > 1})
  if repeated:
    raise ValueError(f"order must name each of the {kind} once, but it repeats {repeated}")
  if len(labels) != total:
    raise ValueError(f"order must name all {total} {kind}, but it lacks {sorted(set(range(total)) - set(labels))}")
  return np.array(labels)


def by_class(dataset: Dataset, scenario: str, tasks: int | None, order, seed) -> TaskStream:
  """A stream whose tasks are groups of classes."""
  classification(dataset)
  tasks, total = 5 if tasks is None else tasks, dataset.num_classes
  if not (1 <= tasks <= total and total % tasks == 0):
    raise ValueError(f"tasks must divide the {total} classes of {dataset.name!r}, got {tasks}")
  labels = order_of(dataset, order, seed)
  each = total // tasks
  rank = np.argsort(labels)  # class -> its place in the order
  known = scenario == "task"
  table = {"train": dataset.train, "test": dataset.test}
  place = {}
  for part, examples in table.items():
    mine = rank[examples.column("y")]
    place[part] = mine // each
    columns = {} if scenario != "domain" else {"y": (mine % each).astype(np.int32), "class": examples.column("y")}
    if part == "train" or known:
      columns["task"] = place[part].astype(np.int32)
    examples = without_task(examples) if part == "test" else examples
    table[part] = examples.replace(**columns) if columns else examples
  train, test = table["train"], table["test"]
  made = []
  for t in range(tasks):
    classes = tuple(range(each)) if scenario == "domain" else tuple(int(c) for c in labels[t * each : (t + 1) * each])
    mine = place["train"] == t
    if not mine.any() or not (place["test"] == t).any():
      raise ValueError(f"task {t} (classes {labels[t * each : (t + 1) * each].tolist()}) has no training or test rows")
    names = "-".join(dataset.classes[c] for c in labels[t * each : (t + 1) * each][:3])
    made.append(
      Task(
        plain(f"{t}_{names}"), t, train.where(mine), test.where(place["test"] == t), classes,
        earlier(train, place["train"], t),
      )
    )  # fmt: skip
  title = f"{dataset.name}, {scenario}-incremental, {tasks} tasks"
  outputs = each if scenario == "domain" else total
  return TaskStream(title, scenario, tuple(made), outputs, train, test, dataset.input_shape)


def earlier(train: Examples, place: np.ndarray, task: int) -> Examples | None:
  """The rows of the tasks before `task`; None for the first."""
  return train.where(place < task) if task else None


def without_task(examples: Examples) -> Examples:
  """The same rows without the column "task"."""
  return Examples({k: v for k, v in examples.columns.items() if k != "task"}, examples.rows)


def plain(name: str) -> str:
  """A name that can be that of a directory."""
  return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
