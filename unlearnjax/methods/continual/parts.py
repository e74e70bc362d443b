"""The shared half of continual learners: what happens when a task comes, is trained on, and is over.

A method names its step and, where it has them, its memories and what it does before and after a task; `learner` makes
the verbs. Everything that a step may want to know about the stream is in refs, under fixed names and in fixed shapes:

* `refs["task"]`, int32 scalar: index of the task that is being learned;
* `refs["seen"]`, bool[C]: the classes of all tasks up to this one, which are those that compete;
* `refs["old"]`, bool[C]: those of earlier tasks only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import (
  Examples,
  Memory,
  Model,
  ModelFn,
  Refs,
  Run,
  Task,
  Transform,
  UnlearnState,
  Verbs,
  as_examples,
  check,
  fit,
  role_batch,
  sequence,
  watch,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array
from unlearnjax.methods.parts import num_outputs, restart
from unlearnjax.models.heads import seen_classes

Hook = Callable[[UnlearnState, Refs, Task, Run], tuple[UnlearnState, Refs]]


def learner(
  fn: ModelFn,
  step: Transform,
  *,
  epochs: int,
  batch_size: int,
  every: int | None = None,
  memories: Mapping[str, Memory | Callable[[int], Memory]] | None = None,
  columns: Callable[[int], Mapping[str, Any]] | None = None,
  refs: Callable[[Model, Array], Refs] | None = None,
  slots: Callable[[Model], Mapping[str, Any]] | None = None,
  before: Hook | None = None,
  after: Hook | None = None,
  source: Callable[[UnlearnState, Task], Any] = lambda state, task: task.train,
  model: Callable[[UnlearnState, Refs], Model] | None = None,
  watched: ModelFn | None = None,
) -> Verbs:
  """The verbs of a method that learns each task by one `fit` of `step` over the role "current".

  The optimizer's state goes on from task to task. The served model lets the classes seen so far compete.

  Args:
    fn: the model function that was bound; objectives should be built on `open_head(fn)`, which masks by `refs["seen"]`.
    step: the transform, built once in `bind`.
    epochs: passes over each task.
    batch_size: rows of "current".
    every: logs the accuracy on `refs["watch"]` every so many steps (see `core.watch`); the caller adds that ref to
      those of `init` and passes it by `uj.learn(..., start=)`.
    memories: buffers by name, or functions of the number of outputs that make them. They are made when the first task
      shows the shape of an example.
    columns: further columns of the buffers by the number of outputs, as zeros [1, ...]: `{"logits": zeros(1, C)}`.
    refs: the method's own refs, `(model, key) -> refs`; all of them, in their final shapes.
    slots: the method's own slots, `model -> slots`.
    before: called when a task has come, before it is trained on.
    after: called when it has been trained on: Fisher information, exemplars, bases. Expensive results that must
      survive a crash go through `run.once`.
    source: `(state, task)` -> what is trained on; `task.train` by default.
    model: the served model; the trained weights under `open_head` by default.
    watched: the function that `every` evaluates; that of the served model by default.
  """
  check.positive("epochs", epochs)
  check.positive("batch_size", batch_size)
  if every is not None:
    step = sequence(step, watch(watched or open_head(fn), every))

  def init(given: Model, key: Array) -> tuple[UnlearnState, Refs]:
    own = slots(given) if slots is not None else None
    state = step.init(UnlearnState.create(given.params, rng=key, model_state=given.state, slots=own))
    return state, dict(refs(given, key)) if refs is not None else {}

  def served(state: UnlearnState, found: Refs) -> Model:
    if "seen" not in found:
      return Model(state.params, state.model_state, {}, fn)
    return Model(state.params, state.model_state, {"seen": found["seen"]}, open_head(fn))

  def learn(state: UnlearnState, found: Refs, task: Task, run: Run) -> tuple[UnlearnState, Refs]:
    state, found = arrive(fn, state, found, task, memories or {}, columns)
    if before is not None:
      state, found = before(state, found, task, run)
    plan = zip_roles(current=source(state, task), batch_size=batch_size, epochs=epochs)
    state, _ = fit(step, state, plan, found, run)
    return after(state, found, task, run) if after is not None else (state, found)

  return Verbs(init, model or served, learn=learn)


def open_head(fn: ModelFn) -> ModelFn:
  """`fn` in which only the classes seen so far compete: see `models.seen_classes`."""
  return seen_classes(fn, "seen")


def arrive(
  fn: ModelFn, state: UnlearnState, refs: Refs, task: Task, memories: Mapping[str, Any], columns: Any = None
) -> tuple[UnlearnState, dict[str, Any]]:
  """State and refs when a task has come: masks of classes, and buffers if it is the first."""
  data = as_examples(task.train)
  if "seen" in refs:
    seen, classes = np.array(refs["seen"]), len(refs["seen"])
  else:
    classes = num_outputs(Model(state.params, state.model_state, dict(refs), fn), data)
    seen = np.zeros(classes, bool)
  if task.classes and not (0 <= min(task.classes) and max(task.classes) < classes):
    raise ValueError(f"task {task.name!r} has the classes {task.classes}, but the model has {classes} outputs")
  now = seen.copy()
  now[list(task.classes) if task.classes else slice(None)] = True
  missing = [name for name in memories if name not in state.memory]
  if missing:
    example = {**role_batch(data, slice(1)), **(columns(classes) if columns is not None else {})}
    made = {name: resolve(memories[name], classes).init(example) for name in missing}
    state = state.replace(memory={**state.memory, **made})
  found = {"task": jnp.asarray(task.index, jnp.int32), "seen": jnp.asarray(now), "old": jnp.asarray(seen)}
  return state, {**refs, **found}


def resolve(memory: Memory | Callable[[int], Memory], classes: int) -> Memory:
  """A memory, or what its factory makes for that many classes."""
  return memory if isinstance(memory, Memory) else memory(classes)


def remember(state: UnlearnState, name: str, memory: Memory, batch: Mapping[str, Any]) -> UnlearnState:
  """The state with examples added to one of its buffers, at the end of a task."""
  key = fold_name(jax.random.fold_in(state.rng, state.step), "remember", name)
  return state.replace(memory={**state.memory, name: _add(memory)(state.memory[name], dict(batch), key)})


def chosen(task: Task, count: int, key: Array) -> Examples:
  """At most `count` random training examples of a task; the same for the same key."""
  data = as_examples(task.train)
  words = np.asarray(jax.random.key_data(fold_name(key, "chosen", task.name))).ravel()
  return data[np.sort(np.random.default_rng(words).permutation(len(data))[:count])]


def padded_batch(source: Any, size: int) -> dict[str, Any]:
  """Examples as one role batch of exactly `size` rows; those that are missing are not valid.

  Example:
    >>> padded_batch(Examples({"x": np.ones((2, 1), np.float32)}), 3)["valid"].tolist()
    [True, True, False]
  """
  data = as_examples(source)
  if len(data) > size:
    raise ValueError(f"{len(data)} examples do not fit into {size} rows")
  batch = role_batch(data[np.minimum(np.arange(size), len(data) - 1)])
  valid = jnp.arange(size) < len(data)
  return {**batch, "valid": valid, "id": jnp.where(valid, batch["id"], -1)}


def check_room(method: str, task: Task, tasks: int) -> None:
  """Raises ValueError for a task that a memory of so many tasks has no room for."""
  if not 0 <= task.index < tasks:
    raise ValueError(f"{method} was made for tasks={tasks} tasks, but task {task.name!r} is number {task.index + 1}")


def own_classes(refs: Refs, task: Task, tasks: int) -> dict[str, Any]:
  """Refs of methods that keep the tasks apart, when a task has come: "now", bool[C], the classes of this task;
  "classes", bool[tasks, C], those of every task; "known", int32[], how many tasks there are.

  Example:
    >>> refs = {"seen": jnp.array([True, True, False]), "old": jnp.array([True, False, False])}
    >>> own_classes(refs, Task("b", 1, None), 2)["now"].tolist()
    [False, True, False]
  """
  now = (
    jnp.zeros_like(refs["seen"]).at[np.array(task.classes)].set(True) if task.classes else refs["seen"] & ~refs["old"]
  )
  now = jnp.where(now.any(), now, refs["seen"])  # the same classes again, in another domain
  classes = refs.get("classes", jnp.zeros((tasks, len(now)), bool)).at[task.index].set(now)
  return {**refs, "now": now, "classes": classes, "known": jnp.asarray(task.index + 1, jnp.int32)}


def begin_again(state: UnlearnState, refs: Refs, step: Transform, ref: str = "start") -> UnlearnState:
  """The state with the weights of `refs[ref]`, see `methods.parts.teacher`, and a fresh optimizer."""
  return restart(state.replace(params=refs[ref]["params"], model_state=refs[ref]["state"]), step)


_ADDERS: dict[int, tuple[Memory, Callable]] = {}


def _add(memory: Memory) -> Callable:
  """`memory.add` under jit, compiled once for each memory."""
  if id(memory) not in _ADDERS:
    _ADDERS[id(memory)] = (memory, jax.jit(memory.add))
  return _ADDERS[id(memory)][1]
