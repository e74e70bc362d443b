"""The only training loop."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.batches import pad_rows, tables_of
from unlearnjax.core.chunk import CHUNK, next_chunk, pad_steps, run_chunk
from unlearnjax.core.history import History
from unlearnjax.core.plan import Feed, Plan
from unlearnjax.core.run import Run, Stopped, stop_asked
from unlearnjax.core.state import UnlearnState
from unlearnjax.core.tree import fold_name, strong, unshared
from unlearnjax.core.types import EMPTY, Refs, Transform
from unlearnjax.sharding import data_parallelism, layout_of, place

_log = logging.getLogger("unlearnjax")
FEED_CHUNK = 8


class NonFiniteError(ArithmeticError):
  """A loss or a parameter became infinite or not-a-number.

  Attributes:
    step: the step at which it was seen.
    names: what was not finite.
  """

  def __init__(self, message: str, step: int, names: list[str]):
    super().__init__(message)
    self.step, self.names = step, names


def fit(
  transform: Transform,
  state: UnlearnState,
  batches: Plan | Feed,
  refs: Refs = EMPTY,
  run: Run | None = None,
  *,
  name: str = "fit",
  until: Callable[[History], bool] | None = None,
) -> tuple[UnlearnState, History]:
  """Runs a transform over a plan: whole chunks of steps on the device, checkpoints, progress, exact resume.

  Compiles once: chunks of any length, requests of any size over one table, and remainders share one program.

  Args:
    transform: the step. Build it once and keep it: its identity is the key of the compilation cache.
    state: made by `transform.init`. It is donated; the caller's own arrays stay alive if `UnlearnState.create` copied.
    batches: from `zip_roles`, or a `Feed`.
    refs: read-only arrays. Those saved with a checkpoint win on resume.
    run: output directory, checkpoint policy, mesh, progress, ledger.
    name: unique within the run's scope; names the checkpoints.
    until: stops early; asked with the history after every pass over the anchor.

  Returns:
    the final state and the history of every scalar that the transform reported.

  Raises:
    NonFiniteError: something became non-finite; names it, the step and the last checkpoint.
    unlearnjax.checkpoint.CheckpointError: the directory holds a checkpoint of another model, method or plan.
  """
  check.kind("state", state, UnlearnState, "an UnlearnState, made by transform.init")
  check.kind("batches", batches, (Plan, Feed), "a Plan such as zip_roles makes, or a Feed")
  run = run or Run()
  run.claim(name)
  with run.cost.measure():
    return _Fit(transform, state, batches, refs, run, name, until).run()


class _Fit:
  """The bookkeeping of one call of `fit`; everything numerical is in `run_chunk`."""

  def __init__(self, transform, state, batches, refs, run, name, until):
    self.transform, self.batches, self.job, self.name, self.until = transform, batches, run, name, until
    self.label, self.looks = "/".join((*run.path, name)), run.look_steps(batches.steps)
    self.lead = jnp.ndim(state.step)
    self.together = jax.process_count() > 1
    self.every = run.checkpoint_every or (1000 if self.together else None)
    self.state, self.refs = place(unshared(strong(state), refs), run.mesh), place(strong(dict(refs)), run.mesh)
    self.history, self.position, self.done = History(), 0, False
    self.before = run.cost.to_dict()
    self.store, self.saved, self.refs_saved = None, None, False
    self.ahead = (None, None)
    self.seeds = self._seeds()
    self.fingerprint = {**batches.fingerprint(), "seeds": list(self.seeds)}
    self.layout, self.tables, self.iterator, self.consumed = None, {}, None, None
    if isinstance(batches, Plan):
      sources = {r: s.sources[0] for r, s in batches.streams.items()}
      self.layout, self.tables = tables_of(sources, batches.capacity, run.mesh)
    else:
      self.iterator = batches.make()
      self.consumed = _iterator_state(self.iterator)
    if (directory := run.directory(name)) is not None:
      from unlearnjax.checkpoint import Store

      self.store = Store(directory, run.keep)
      self._restore()

  def _seeds(self) -> tuple[int, ...]:
    if isinstance(self.batches, Feed):
      return ()
    copies, seeds = self.state.step.shape[0] if self.lead else 1, self.batches.seeds
    if seeds is None:  # from the key of the state: same key, same order
      keys = jax.vmap(lambda k: fold_name(k, "order"))(self.state.rng.reshape(copies))
      words = np.asarray(jax.random.key_data(keys)).reshape(copies, -1)[:, -2:]
      seeds = tuple(int(a) << 32 | int(b) for a, b in words)
    if len(seeds) != copies:
      raise ValueError(f"the plan has {len(seeds)} seeds, but the state has {copies} replicas")
    for role, stream in self.batches.streams.items():
      if len(stream.sources) not in (1, copies):
        raise ValueError(f"role {role!r} has {len(stream.sources)} sources, but the state has {copies} replicas")
    return seeds

  def run(self) -> tuple[UnlearnState, History]:
    steps, chunk, last_save, first = self.batches.steps, 16, time.perf_counter(), True
    bar = self.job.bar(self.name, steps, self.position)
    try:
      while not self.done and self.position < steps:
        data, spent, count = self._take(min(chunk, self._boundary(self.position) - self.position))
        if not count:
          break
        start = time.perf_counter()
        ran, self.state, logs, ok, finite = run_chunk(
          self.transform, self.layout, layout_of(self.state, self.job.mesh), self.job.mesh, self.job.data_axes,
          self.state, self.refs, self.tables, data, count, self.position, steps,
        )  # fmt: skip
        self._prepare(self.position + count, chunk)  # while the device works
        ran, logs, ok, finite = jax.device_get((ran, logs, ok, finite))
        took = time.perf_counter() - start
        self._account(int(ran), logs, spent)
        if not (np.any(ok) and np.any(finite)):
          self._fail(int(ran), logs, bool(np.any(ok)))
        self._show(bar, int(ran), logs)
        if self.position in self.looks:
          with self.job.cost.paused():
            self.history.note(self.job.on_look(self.label, self.state, self.refs))
        if self.together:  # clocks differ, and all processes must run the same chunks
          chunk = CHUNK
        elif not first:  # the first one compiles
          chunk = next_chunk(chunk, took)
        first = False
        epoch = self.batches.steps_per_epoch
        if self.until is not None and epoch and self.position % epoch == 0 and self.until(self.history):
          self.done = True
        every = self.every
        due = self.position % every == 0 if every else time.perf_counter() - last_save > self.job.checkpoint_seconds
        if due and not self.done and self.position < steps:
          self._save(done=False)
          last_save = time.perf_counter()
        if not self.done and self.position < steps and stop_asked():
          if self.saved != (self.position, False):
            self._save(done=False)
          kept = "is saved" if self.store is not None else "is lost: the run has no output directory"
          raise Stopped(f"{self.name} was asked to stop at step {self.position} of {steps}, which {kept}")
      if self.saved != (self.position, True):
        self._save(done=True)
    finally:
      bar.close()
      if self.store is not None:
        self.store.close()
    if self.job.on_history is not None:
      self.job.on_history(self.label, self.history)
    return self.state, self.history

  def _boundary(self, position: int) -> int:
    """The next step at which the host must look: a checkpoint, the end of an epoch, a look, the end."""
    stops = [self.batches.steps]
    stops += [step for step in self.looks if step > position][:1]
    every = [self.every if self.store else None, self.batches.steps_per_epoch if self.until else None]
    return min(stops + [(position // n + 1) * n for n in every if n])

  def _prepare(self, position: int, chunk: int) -> None:
    """Makes the row numbers of the chunk that most likely comes next."""
    count = min(chunk, self._boundary(position) - position)
    if isinstance(self.batches, Plan) and count > 0:
      self.ahead = (position, count), self._rows(position, count)

  def _rows(self, position: int, count: int) -> tuple[Any, np.ndarray]:
    data = self.batches.indices(position, position + count, self.seeds, bool(self.lead))
    multiple = data_parallelism(self.job.mesh, self.job.data_axes)
    data = {r: pad_rows(rows, multiple) for r, rows in data.items()}
    spent = sum((rows.reshape(count, -1) >= 0).sum(1) for rows in data.values())
    data = {"rows": {r: pad_steps(rows, CHUNK) for r, rows in data.items()}}
    if self.batches.phase is not None:
      data["phase"] = pad_steps(self.batches.phase[position : position + count], CHUNK)
    return data, spent

  def _take(self, count: int) -> tuple[Any, np.ndarray, int]:
    """Data of the next steps, gradient evaluations of each, and how many steps the budget allows."""
    if isinstance(self.batches, Plan):
      key = (self.position, count)
      data, spent = self.ahead[1] if self.ahead[0] == key else self._rows(*key)
    else:
      count = min(count, FEED_CHUNK)
      rows = list(itertools.islice(self.iterator, count))
      if len(rows) < count:
        raise ValueError(f"{self.name}: the feed ended after {self.position + len(rows)} of {self.batches.steps} steps")
      self.consumed = _iterator_state(self.iterator)
      spent = np.array([sum(int(np.sum(p["valid"])) for p in b.values() if isinstance(p, dict)) for b in rows])
      data = {"stacked": jax.tree.map(lambda *x: pad_steps(np.stack(x), FEED_CHUNK), *rows)}
    if self.job.budget is not None:
      left = self.job.budget - self.job.cost.gradient_evaluations
      allowed = int(np.searchsorted(np.cumsum(spent), left, side="right"))
      if allowed < count:
        _log.warning(
          "%s stops at step %d: the budget of %d gradient evaluations is spent",
          self.name,
          self.position + allowed,
          self.job.budget,
        )
        self.done, count = True, allowed
    return data, spent, count

  def _account(self, ran: int, logs, spent: np.ndarray) -> None:
    self.history.extend({k: v[:ran] for k, v in logs.items()})
    self.position += ran
    self.job.cost.steps += ran
    replayed = sum(int(np.nansum(v[:ran])) for k, v in logs.items() if k.endswith("/read"))  # see compose.replay
    self.job.cost.gradient_evaluations += int(spent[:ran].sum()) + replayed

  def _show(self, bar, ran: int, logs) -> None:
    bar.update(ran)
    last = {k: v[ran - 1] for k, v in logs.items() if np.ndim(v[ran - 1]) == 0}
    bar.set_postfix({k: f"{v:.3g}" for k, v in last.items() if k.endswith("/loss") and np.isfinite(v)}, refresh=False)
    if self.job.writer is not None:
      self.job.writer(self.label, self.position, last)

  def _fail(self, ran: int, logs, losses_ok: bool) -> None:
    step, active = self.position - 1, None
    if isinstance(self.batches, Plan):
      active = [r for r in self.batches.active if self.batches.active[r][step]]
    bad = [k for k, v in logs.items() if not np.isfinite(v[ran - 1]).all() and k != "loss"]
    bad = [k for k in bad if active is None or k.split("/")[0] in active] or bad or ["loss"]
    phase = self.batches.phase if isinstance(self.batches, Plan) else None
    if phase is not None and (phase[:step] == phase[step]).any():  # what this phase never reports is not to blame
      last = np.flatnonzero(phase[:step] == phase[step])[-1]
      bad = [k for k in bad if k in self.history and np.isfinite(self.history[k][last]).any()] or bad
    names = ["params"] if losses_ok else bad
    kept = "no checkpoint was kept"
    if self.saved is not None:
      kept = f"the last checkpoint is that of step {self.saved[0]} in {self.store.directory}"
    raise NonFiniteError(
      f"{self.label}: non-finite {names} at step {step} of {self.batches.steps}; {kept}", step, names
    )

  def _save(self, done: bool) -> None:
    if self.store is None:
      return
    if jax.tree.leaves(self.refs) and not self.refs_saved and not done:
      self.store.save_refs(self.refs)
      self.refs_saved = True
    meta = {
      "fingerprint": self.fingerprint,
      "position": self.position,
      "done": done,
      "history": self.history.to_json(),
      "cost": self.job.cost.since(self.before),
      "feed": self.consumed,
    }
    self.store.save(self.position, self.state, meta)
    self.saved = (self.position, done)

  def _restore(self) -> None:
    found = self.store.restore(self.state, self.fingerprint)
    if found is None:
      return
    self.state, meta = found
    self.position, self.done = meta["position"], meta["done"]
    self.saved = (self.position, self.done)
    self.history = History.from_json(meta["history"])
    self.job.cost.add(meta["cost"])
    if not self.done and jax.tree.leaves(self.refs):
      self.refs = self.store.restore_refs(self.refs)
      self.refs_saved = True
    if self.iterator is not None and meta["feed"] is not None:
      self.iterator.set_state(_decode(meta["feed"]))
      self.consumed = meta["feed"]
    _log.info("%s resumes at step %d of %d", self.name, self.position, self.batches.steps)


def _iterator_state(iterator) -> Any:
  """The JSON form of an iterator's state; bytes are marked, as JSON has none."""
  value = iterator.get_state()
  return {"bytes": value.hex()} if isinstance(value, bytes) else value


def _decode(value: Any) -> Any:
  return bytes.fromhex(value["bytes"]) if isinstance(value, dict) and set(value) == {"bytes"} else value
