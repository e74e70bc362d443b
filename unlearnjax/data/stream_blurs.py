"""Streams whose tasks have no sharp borders."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples
from unlearnjax.core.types import Task
from unlearnjax.data.datasets import Dataset
from unlearnjax.data.splits import as_dataset
from unlearnjax.data.streams import TaskStream, by_class, classification, order_of, without_task


def blurry(
  dataset: Dataset | str,
  *,
  tasks: int | None = None,
  mix: float = 0.1,
  order: Sequence[int | str] | None = None,
  seed: int = 0,
) -> TaskStream:
  """Class-incremental tasks whose borders are blurred: a share of each task's rows comes from all the other tasks.

  Rows are exchanged, so every task keeps its size. A task's test rows are those of its own classes. "Blurry-M" of Bang
  et al., CVPR 2021, arXiv:2103.17230, is `mix = M / 100`.

  Args:
    dataset, tasks, order: as for `class_incremental`.
    mix: share of foreign rows, in [0, 1); 0 is `class_incremental`.
    seed: draws the rows that are exchanged.

  Example:
    >>> first = blurry("digits", tasks=5, mix=0.2).tasks[0].train.column("y")
    >>> 0.1 < float(np.mean(first > 1)) <= 0.2
    True
  """
  check.fraction("mix", mix, zero=True, one=False)
  base = by_class(as_dataset(dataset), "blurry", tasks, order, None)
  rng = np.random.default_rng([seed, 2])
  place = base.train.column("task").copy()
  leaving = np.concatenate(
    [rng.permutation(np.flatnonzero(place == t))[: round(mix * (place == t).sum())] for t in range(len(base))]
  )
  arriving = np.roll(rng.permutation(place[leaving]), 1)
  place[leaving] = arriving
  train = base.train.replace(task=place)
  tasks = [
    task._replace(
      train=train.where(place == t), seen=train.where(place < t) if t else None, classes=_labels(train, place == t)
    )
    for t, task in enumerate(base.tasks)
  ]
  return dataclasses.replace(base, tasks=tuple(tasks), train=train)


def task_free(
  dataset: Dataset | str,
  *,
  chunks: int = 20,
  width: float = 1.0,
  order: Sequence[int | str] | None = None,
  seed: int = 0,
) -> TaskStream:
  """A stream without tasks: classes fade in and out, and what comes is cut into chunks that mean nothing.

  Row i of class c (the k-th of the order) comes at time k + noise, normal with standard deviation `width` classes.
  Every chunk is tested on all test rows.

  Args:
    dataset, order: as for `class_incremental`.
    chunks: of equal size (the last may be smaller); one pass each.
    width: 0 is one class after another, sharply.
    seed: draws the times.

  Example:
    >>> stream = task_free("digits", chunks=10)
    >>> len(stream), len(stream.tasks[0].test)
    (10, 359)
  """
  dataset = classification(as_dataset(dataset))
  check.positive("width", width, zero=True)
  check.positive("chunks", chunks)
  labels = order_of(dataset, order, None)
  rank = np.argsort(labels)[dataset.train.column("y")]
  rng = np.random.default_rng([seed, 3])
  when = np.argsort(rank + width * rng.normal(size=len(rank)) + 1e-9 * rng.random(len(rank)), kind="stable")
  size = -(-len(when) // chunks)
  place = np.empty(len(when), np.int32)
  place[when] = np.arange(len(when)) // size
  train = dataset.train.replace(task=place)
  test = without_task(dataset.test)
  made = [
    Task(f"chunk{t}", t, train.where(place == t), test, (), train.where(place < t) if t else None)
    for t in range(place.max() + 1)
  ]
  return TaskStream(
    f"{dataset.name}, task-free, {len(made)} chunks",
    "free",
    tuple(made),
    dataset.num_classes,
    train,
    test,
    dataset.input_shape,
  )


def _labels(train: Examples, mask: np.ndarray) -> tuple[int, ...]:
  return tuple(int(c) for c in np.unique(train.column("y")[mask]))
