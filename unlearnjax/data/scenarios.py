"""Streams by the name of their scenario."""

from __future__ import annotations

from unlearnjax.core import check
from unlearnjax.data.datasets import Dataset
from unlearnjax.data.splits import as_dataset
from unlearnjax.data.stream_blurs import blurry, task_free
from unlearnjax.data.stream_groups import grouped, overlapping
from unlearnjax.data.stream_inputs import instances, permuted, rotated
from unlearnjax.data.streams import TaskStream, by_class

SCENARIOS = ("class", "task", "domain", "permuted", "rotated", "instances", "blurry", "free", "group", "overlap")
"""What `make_stream` knows."""
TURNED = {"rotated": 180.0, "instances": 0.0}
"""Scenarios whose tasks are turned, and by how many degrees over all of them unless it is said."""


def make_stream(
  dataset: Dataset | str,
  scenario: str,
  *,
  tasks: int | None = None,
  seed: int | None = None,
  degrees: float | None = None,
  known_task: bool = False,
) -> TaskStream:
  """The stream of a scenario by its name; `seed` draws the order of classes or groups, or the permutations.

  "group" has a task a group by default; "overlap" cuts C classes into windows of 2 C / (tasks + 1), 4 by default, each
  of which shares half of its classes with the next. `degrees` belongs to "rotated" (180 by default)
  and "instances" (0), `known_task` to them and "permuted".

  Raises:
    ValueError: an unknown scenario, a number of tasks that it does not allow, or an option that it does not have.

  Example:
    >>> make_stream("digits", "class", tasks=2).name
    'digits, class-incremental, 2 tasks'
  """
  check.one_of("scenario", scenario, SCENARIOS)
  if degrees is not None and scenario not in TURNED:
    raise ValueError(f"degrees belongs to the scenarios 'rotated' and 'instances', got {scenario!r}")
  if known_task and scenario not in (*TURNED, "permuted"):
    raise ValueError(f"known_task belongs to the scenarios 'rotated', 'instances' and 'permuted', got {scenario!r}")
  if scenario in ("class", "task", "domain"):
    return by_class(as_dataset(dataset), scenario, tasks, None, seed)
  if scenario == "permuted":
    return permuted(dataset, tasks=tasks or 5, seed=seed or 0, known_task=known_task)
  if scenario in TURNED:
    given = {"tasks": tasks or 5, "degrees": TURNED[scenario] if degrees is None else degrees, "known_task": known_task}
    return rotated(dataset, **given) if scenario == "rotated" else instances(dataset, seed=seed or 0, **given)
  if scenario == "blurry":
    return blurry(dataset, tasks=tasks, seed=seed or 0)
  if scenario == "group":
    return grouped(dataset, tasks=tasks, seed=seed)
  if scenario == "overlap":
    dataset, tasks = as_dataset(dataset), tasks or 4
    if dataset.num_classes % (tasks + 1):
      raise ValueError(
        f"tasks + 1 must divide the {dataset.num_classes} classes of {dataset.name!r}, got tasks={tasks}"
      )
    stride = dataset.num_classes // (tasks + 1)
    return overlapping(dataset, window=2 * stride, stride=stride, seed=seed)
  return task_free(dataset, chunks=tasks or 20, seed=seed or 0)
