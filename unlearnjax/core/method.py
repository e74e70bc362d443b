"""Driving methods: one request, or a stream of tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax

from unlearnjax.core import check
from unlearnjax.core.run import Run
from unlearnjax.core.source import as_examples
from unlearnjax.core.state import UnlearnState
from unlearnjax.core.tree import unshared
from unlearnjax.core.types import EMPTY, Array, ForgetRequest, Method, Model, ModelFn, Refs, Task, Verbs


class Result(NamedTuple):
  """What a request left behind: the model to serve, the state to go on from, and what it cost."""

  model: Model
  state: UnlearnState
  refs: Refs
  cost: dict[str, Any]


@functools.lru_cache(maxsize=256)
def bound(method: Method, fn: ModelFn) -> Verbs:
  """`method.bind(fn)`, once for each pair: a second request finds its programs compiled."""
  return method.bind(fn)


def forget(
  method: Method,
  model: Model,
  request: ForgetRequest,
  *,
  key: Array,
  run: Run | None = None,
  start: tuple[UnlearnState, Refs] | None = None,
) -> Result:
  """Honours one forget request.

  Args:
    method: from `unlearnjax.methods`, or your own. Keep the value: its transforms are compiled once.
    model: the trained model; it is not changed.
    request: what to forget and, for methods that need it, what to retain.
    key: a typed key; same key, same bits.
    run: where to save, progress, mesh, ledger. With `run.out` the call resumes after a crash.
    start: `(state, refs)` to go on from: of an earlier request, or of `learn` for methods with a preparation stage.

  Raises:
    ValueError: the method cannot forget, or the request lacks what it needs or is inconsistent.
    TypeError: something else in the place of a method, a model, a request or a key.

  Example:
    >>> import unlearnjax as uj
    >>> data = uj.data.load("digits")
    >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10)
    >>> request = uj.data.forget_class(data, 3)
    >>> result = uj.forget(uj.methods.ssd(), fn.init(jax.random.key(0)), request, key=jax.random.key(1))
    >>> sorted(result.cost)[:2]
    ['compile_seconds', 'forward_evaluations']
  """
  check_request(request)
  check_verb(method, model)
  if start is None:
    check.key("key", key)
  verbs = bound(method, model.fn)
  if verbs.forget is None:
    raise ValueError(f"{method.name} can learn but not forget")
  run = (run or Run()).scope(method.name)
  before = run.cost.to_dict()
  with run.cost.measure():
    state, refs = verbs.init(model, key) if start is None else start
    state, refs = verbs.forget(unshared(state, model, start), refs, request, run)
    result = jax.block_until_ready(verbs.model(state, refs))
  return Result(result, state, refs, run.cost.since(before))


def learn(
  method: Method,
  model: Model,
  tasks: Iterable[Task],
  *,
  key: Array,
  run: Run | None = None,
  start: tuple[UnlearnState, Refs] | None = None,
) -> Iterator[Result]:
  """Learns tasks one after another; yields a `Result` after each.

  It is also the preparation stage of methods that must see the data before any request (SISA, stored statistics):
  `uj.forget(..., start=(result.state, result.refs))` goes on from there.
  """
  check_verb(method, model)
  if start is None:
    check.key("key", key)
  verbs = bound(method, model.fn)
  if verbs.learn is None:
    raise ValueError(f"{method.name} can forget but not learn")
  run = (run or Run()).scope(f"{method.name}_learn")
  state, refs = verbs.init(model, key) if start is None else start
  state = unshared(state, model, start)
  for task in tasks:
    before = run.cost.to_dict()
    with run.cost.measure():
      state, refs = verbs.learn(state, refs, task, run.scope(f"{task.index}_{task.name}"))
      result = jax.block_until_ready(verbs.model(state, refs))
    yield Result(result, state, refs, run.cost.since(before))
    state = unshared(state, state)  # the next task donates its state; what was yielded stays alive


def check_verb(method: Method, model: Model) -> None:
  """Raises TypeError for what is no method, such as a factory that was not called, or no model."""
  check.kind("method", method, Method, "a Method such as uj.methods.salun()")
  check.kind("model", model, Model, "a Model such as uj.train returns")


def check_request(request: ForgetRequest) -> None:
  """Raises ValueError for a request without examples to forget, or whose forget and retain sets overlap."""
  check.kind("request", request, ForgetRequest, "a ForgetRequest such as uj.data.forget_class(data, 3)")
  if request.forget is None or not len(request.forget):
    raise ValueError("the forget set is empty")
  if request.retain is None:
    return
  import numpy as np

  shared = np.intersect1d(as_examples(request.forget).ids, as_examples(request.retain).ids)
  if len(shared):
    raise ValueError(f"the forget set overlaps the retain set in {len(shared)} ids, among them {shared[:5].tolist()}")


def need_retain(name: str, request: ForgetRequest) -> Any:
  """The retain set of a request, for methods that cannot do without."""
  if request.retain is None or not len(request.retain):
    raise ValueError(f"{name} needs a retain set, and the request has none")
  return request.retain


def plain_model(fn: ModelFn) -> Callable[[UnlearnState, Refs], Model]:
  """`Verbs.model` of methods that serve the trained weights as they are."""
  return lambda state, refs: Model(state.params, state.model_state, {}, fn)


def plain_init(*transforms: Any, refs: Callable[[Model, Array], Refs] | None = None):
  """`Verbs.init` of methods whose state is that of their transforms.

  Args:
    *transforms: initialized one after another.
    refs: `(model, key) -> refs`; none by default.
  """

  def init(model: Model, key: Array) -> tuple[UnlearnState, Refs]:
    state = UnlearnState.create(model.params, rng=key, model_state=model.state)
    for transform in transforms:
      state = transform.init(state)
    return state, dict(refs(model, key)) if refs is not None else EMPTY

  return init


def view_model(fn: ModelFn, state: UnlearnState, refs: Refs = EMPTY) -> Model:
  """The model that a state holds, for folds and evaluation inside a method."""
  return Model(state.params, state.model_state, dict(refs), fn)
