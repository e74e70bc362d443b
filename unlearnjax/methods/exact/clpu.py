"""CLPU-DER++: continual learning and private unlearning. Liu, Liu and Stone, CoLLAs 2022, arXiv:2203.12817 (63)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import losses, objectives
from unlearnjax.core import (
  Guarantee,
  Method,
  Model,
  ModelFn,
  Task,
  UnlearnState,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  need_retain,
  outputs,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.methods.exact.members import at, put, train_member
from unlearnjax.methods.parts import by_id, sample, sgd
from unlearnjax.models.ensembles import ensemble
from unlearnjax.training import Recipe, trainer

TEMPORARY, REMEMBERED = 1, 2  # 0: an empty place


def clpu(
  *,
  classes: int,
  remember: Callable[[Task], bool] = lambda task: False,
  capacity: int = 12,
  task_size: int = 1024,
  memory_per_task: int = 200,
  alpha: float = 0.5,
  beta: float = 1.0,
  pretrain: bool = True,
  recipe: Recipe | None = None,
) -> Method:
  """A net that remembers for good, and a net of its own for every task that may have to be forgotten. Exact.

  A task to remember trains the main net h on CE(h, y) + the mean over the remembered tasks t of
  [alpha MSE(h, h_t) + beta CE(h, y)] on the memory of t, whose logits h_t are those of the net that learned it (DER++).
  A temporary task trains a side net, from the main net or afresh, and fills a memory. Learned again as one to
  remember, its side net is distilled into the main net from the memories, and dropped. Forgetting a temporary task
  drops its side net and its memory; forgetting a part of it trains the side net again, from where it started, on the
  rest. Nothing of a temporary task reaches the main net before that, so the state is, bit by bit, that of the stream
  without what was forgotten.

  The answer is the mean probability of the side nets and, once it has learned, of the main net. A task lives in the
  place of its `index`. The memory holds ids and logits; the examples themselves are read from `task.seen`.

  Args:
    classes: width of the model's output.
    remember: which tasks are remembered for good; none by default. They cannot be forgotten.
    capacity: places for tasks.
    task_size: most examples of a task.
    memory_per_task: examples that are remembered of a task, a uniform sample.
    alpha, beta: weights >= 0 of the logits and the labels of the memory; alpha = 0 is experience replay.
    pretrain: a side net starts from the main net; False: from fresh weights.
    recipe: of one task, also of a consolidation. SGD 0.01 with decay 5e-4, 10 epochs, batches of 32 by default, and as
      many rows of the memory.

  Raises:
    ValueError: an index that is out of range or taken, a task that is too large or overlaps others, a request that
      reaches a remembered task, or a memory whose examples are not in `task.seen`.

  Example:
    >>> clpu(classes=10, remember=lambda task: task.name.startswith("keep")).name
    'clpu'
  """
  for name, value in (("classes", classes), ("capacity", capacity), ("memory_per_task", memory_per_task)):
    check.positive(name, value)
  check.positive("alpha", alpha, zero=True)
  check.positive("beta", beta, zero=True)
  recipe = recipe or Recipe(sgd(0.01, momentum=0.0), epochs=10, batch_size=32)

  def bind(fn: ModelFn) -> Verbs:
    alone, members = trainer(fn, recipe), ensemble(fn, capacity + 1, "mean", weights="in_use")

    def remembered(params, batch, view):
      out = objectives.forward(fn, params, batch, view, train=True)
      each = alpha * losses.squared_error(out.logits, batch["logits"]) + beta * losses.cross_entropy(
        out.logits, batch["y"]
      )
      value, aux = objectives.mean(batch["share"] * each, batch)  # every task weighs alike, however many rows it has
      return value, {**aux, "state": out.state}

    replay = descend(
      {"current": objectives.cross_entropy(fn), "memory": remembered}, recipe.tx, state_from="current", name="replay"
    )
    distil = descend({"memory": remembered}, recipe.tx, state_from="memory", name="distil")

    def init(model, key):
      blank = {"params": model.params, "state": model.state}
      many = lambda: jax.tree.map(lambda x: jnp.repeat(x[None], capacity, 0), blank)
      slots = {
        "side": many(),
        "start": many(),
        "kind": jnp.zeros(capacity, jnp.int32),
        "ids": jnp.full((capacity, task_size), -1, jnp.int32),
        "memory": jnp.full((capacity, memory_per_task), -1, jnp.int32),
        "logits": jnp.zeros((capacity, memory_per_task, classes)),
      }
      state = UnlearnState.create(model.params, rng=key, model_state=model.state, slots=slots)
      return state, {"blank": jax.tree.map(jnp.array, blank)}

    def learn(state, refs, task, run):
      place, train = task.index, by_id(task.train)
      kinds = np.asarray(state.slots["kind"])
      shared = [int(p) for p in np.flatnonzero(kinds) if np.isin(_ids(state, p), train.ids).any()]
      if not 0 <= place < capacity or len(train) > task_size:
        raise ValueError(
          f"task {task.name!r} must have an index in [0, {capacity}) and at most {task_size} examples, got {place} and "
          f"{len(train)}"
        )
      if kinds[place] == TEMPORARY and shared == [place] and remember(task):
        return consolidate(state, refs, task, run)
      if kinds[place] or shared:
        raise ValueError(f"task {task.name!r} takes the place or the examples of the tasks {shared or [place]}")
      main, key = _main(state), fold_name(state.rng, f"task{place}")
      if remember(task):
        member = main
        if (kinds == REMEMBERED).any():
          inner = UnlearnState.create(main["params"], rng=key, model_state=main["state"])
          rows = memory(state, np.flatnonzero(kinds == REMEMBERED), task)
          roles = {"current": train, "memory": rows}
          plan = zip_roles(anchor="current", batch_size=recipe.batch_size, epochs=recipe.epochs, **roles)
          inner, _ = fit(replay, replay.init(inner), plan, run=run, name="replay")
          member = {"params": inner.params, "state": inner.model_state}
        else:
          member = train_member(alone, main, train, recipe, key, run, "first")
        state = state.replace(params=member["params"], model_state=member["state"])
        return filled(state, place, REMEMBERED, train, member, run), refs
      start = main
      if not (pretrain and (kinds == REMEMBERED).any()):
        fresh = fn.init(fold_name(key, "fresh"))
        start = {"params": fresh.params, "state": fresh.state}
      state = state.replace(slots={**state.slots, "start": put(state.slots["start"], (place,), start)})
      return side(state, place, train, run), refs

    def side(state, place, train, run):
      """Trains the side net of a place from where it started, and fills its memory."""
      start = at(state.slots["start"], (place,))
      member = train_member(alone, start, train, recipe, fold_name(state.rng, f"task{place}"), run, f"side{place}")
      state = state.replace(slots={**state.slots, "side": put(state.slots["side"], (place,), member)})
      return filled(state, place, TEMPORARY, train, member, run)

    def filled(state, place, kind, train, member, run):
      """Notes the examples of a task, a sample of them, and what its net says about these."""
      key = fold_name(state.rng, f"task{place}", "memory")
      kept = train if len(train) <= memory_per_task else sample(train, memory_per_task / len(train), key)
      said = outputs(Model(member["params"], member["state"], {}, fn), kept, run)["logits"]
      pad = lambda x, size, fill: np.concatenate([x, np.full((size - len(x), *x.shape[1:]), fill, x.dtype)])
      new = {
        "kind": jnp.int32(kind),
        "ids": jnp.asarray(pad(train.ids, task_size, -1)),
        "memory": jnp.asarray(pad(kept.ids, memory_per_task, -1)),
        "logits": jnp.asarray(pad(said, memory_per_task, 0)),
      }
      return state.replace(slots={**state.slots, **put({k: state.slots[k] for k in new}, (place,), new)})

    def memory(state, places, task):
      """What is remembered of some tasks, as examples with their logits and with equal shares of the tasks."""
      ids = [np.asarray(state.slots["memory"][p]) for p in places]
      counts = [int(np.sum(i >= 0)) for i in ids]
      ids = [i[:n] for i, n in zip(ids, counts)]
      logits = np.concatenate([np.asarray(state.slots["logits"][p])[:n] for p, n in zip(places, counts)])
      share = np.concatenate([np.full(n, sum(counts) / (len(places) * n), np.float32) for n in counts])
      if task.seen is None:
        raise ValueError("clpu reads what it remembers from task.seen, which is missing; uj.serve gives it")
      known = as_examples(task.seen)
      try:
        known = known + as_examples(task.train)  # a consolidated task is its own memory
      except ValueError:
        pass
      return known.select(np.concatenate(ids)).replace(logits=logits, share=share)

    def consolidate(state, refs, task, run):
      """The side net of a task becomes part of the main net."""
      places = np.flatnonzero((np.asarray(state.slots["kind"]) == REMEMBERED) | (np.arange(capacity) == task.index))
      if len(places) == 1:  # the main net knows nothing yet
        member = at(state.slots["side"], (task.index,))
      else:
        key = fold_name(state.rng, f"task{task.index}", "consolidate")
        inner = UnlearnState.create(state.params, rng=key, model_state=state.model_state)
        rows = memory(state, places, task)
        plan = zip_roles(memory=rows, batch_size=recipe.batch_size, epochs=recipe.epochs)
        inner, _ = fit(distil, distil.init(inner), plan, run=run, name="distil")
        member = {"params": inner.params, "state": inner.model_state}
      state = state.replace(params=member["params"], model_state=member["state"])
      nets = put({k: state.slots[k] for k in ("side", "start")}, (task.index,), {k: refs["blank"] for k in _NETS})
      kind = state.slots["kind"].at[task.index].set(REMEMBERED)
      return state.replace(slots={**state.slots, **nets, "kind": kind}), refs

    def forget(state, refs, request, run):
      gone = as_examples(request.forget).ids
      kinds = np.asarray(state.slots["kind"])
      hit = [int(p) for p in np.flatnonzero(kinds) if np.isin(_ids(state, p), gone).any()]
      if kept := [p for p in hit if kinds[p] == REMEMBERED]:
        raise ValueError(f"the tasks {kept} are remembered for good: clpu forgets temporary tasks alone")
      for place in hit:
        left = np.setdiff1d(_ids(state, place), gone)
        if len(left):
          retain = as_examples(need_retain("clpu", request))
          state = side(state, place, by_id(retain.select(left)), run)
        else:
          empty = {
            **{k: refs["blank"] for k in _NETS},
            "kind": jnp.int32(0),
            "ids": jnp.full(task_size, -1, jnp.int32),
            "memory": jnp.full(memory_per_task, -1, jnp.int32),
            "logits": jnp.zeros((memory_per_task, classes)),
          }
          state = state.replace(slots=dict(put(dict(state.slots), (place,), empty)))
      return state, refs

    def served(state, refs):
      both = lambda main, sides: jnp.concatenate([main[None], sides])
      everyone = jax.tree.map(both, _main(state), state.slots["side"])
      kind = state.slots["kind"]
      in_use = jnp.concatenate([(kind == REMEMBERED).any()[None], kind == TEMPORARY]).astype(jnp.float32)
      return Model(everyone["params"], everyone["state"], {"in_use": in_use}, members)

    return Verbs(init, served, learn=learn, forget=forget)

  promise = Guarantee("exact", statement="the state is that of the stream without what was forgotten, bit by bit")
  return Method("clpu", bind, promise)


_NETS = ("side", "start")


def _main(state: UnlearnState):
  return {"params": state.params, "state": state.model_state}


def _ids(state: UnlearnState, place: int) -> np.ndarray:
  ids = np.asarray(state.slots["ids"][place])
  return ids[ids >= 0]
