"""One stream of requests against one state."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from unlearnjax.core import (
  ForgetRequest,
  Guarantee,
  Model,
  NonFiniteError,
  Run,
  as_examples,
  bound,
)
from unlearnjax.core.tree import unshared
from unlearnjax.core.types import Refs
from unlearnjax.methods.parts import everything
from unlearnjax.serving.archive import DONE, Archive
from unlearnjax.serving.faults import reach
from unlearnjax.serving.holdings import Holdings
from unlearnjax.serving.receipts import environment, forget_request, receipt_of
from unlearnjax.serving.requests import Forget, Learn, Receipt, checked, configuration, ids_digest, tree_digest

Audit = Callable[[Model, ForgetRequest], Mapping[str, float]]


class Service:
  """The iterator of receipts that `serve` returns.

  Attributes:
    model: what the world sees now.
    state, refs: of the method.
    holdings: which ids are live, which are forgotten, and their examples.
  """

  def __init__(self, method, model, requests, run, key, data, start, batch, audit, extra, config, clock):
    from unlearnjax.serving.audits import accuracies

    self._method, self._run, self._batch, self._clock = method, run, batch, clock
    self._audit, self._extra = audit or accuracies, dict(extra)
    self._stream, self._position = iter(requests), 0
    self._verbs = bound(method, model.fn)
    self.state, self.refs = self._verbs.init(model, key) if start is None else start
    self.state, self.refs = unshared(self.state, model, start), dict(self.refs)
    self._config = configuration(method) | config
    self._base = None if data is None else as_examples(data)
    header = {
      "method": method.name,
      "config": self._config,
      "key": [int(word) for word in np.asarray(jax.random.key_data(key)).ravel()],
      "start": tree_digest({"state": self.state, "refs": self.refs}),
      "data": None if self._base is None else ids_digest(self._base.ids),
    }
    self._archive = Archive(run, header)
    try:
      self._recover()
    except BaseException:
      self.close()
      raise

  def __iter__(self) -> Iterator[Receipt]:
    return self

  def __enter__(self) -> Service:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def close(self) -> None:
    """Ends the service and lets the next writer in; model and state stay readable."""
    self._archive.close()
    self._stream = iter(())

  @property
  def model(self) -> Model:
    return self._verbs.model(self.state, self.refs)

  def __next__(self) -> Receipt:
    try:
      while not self._ready:
        group = self._group()
        if not group and not self._ready:
          self.close()
          raise StopIteration
        if group:
          self._ready.extend(map(Receipt.from_entry, self._answer(group)))
      return self._ready.popleft()
    except BaseException:
      self.close()
      raise

  def _recover(self) -> None:
    """Brings state, ledger and queue to where the last run stopped."""
    tree = self._archive.restore({"state": self.state, "refs": self.refs})
    if tree is not None:
      self.state, self.refs = tree["state"], tree["refs"]
    self._digests = self._hashes()
    intents = self._archive.intents.entries[1:]
    self._intents = {entry["request"]: entry for entry in intents}
    self._receipts = {entry["request"]: entry for entry in self._archive.ledger.entries}
    self._pending = collections.deque(e for e in intents if e["request"] not in self._receipts)
    self._early = {entry["request"] for entry in self._pending}
    self._held, self._ready = collections.deque(), collections.deque()
    self._sources: dict[str, Any] = {}
    done = [e["request"] for e in self._archive.ledger.entries if e["outcome"] == DONE]
    self._missing = {name for name in done if self._intents[name]["kind"] == "learn"}
    self._replayed = done
    self._archive.erase(self._pending[0]["seq"] if self._pending else len(intents) + 1)
    if not self._missing:
      self._replay()

  def _replay(self) -> None:
    """Rebuilds what is live from the requests that were done, once their data is there."""
    self.holdings = Holdings()
    if self._base is not None:
      self.holdings.add(self._base, "the initial data")
      self.holdings.learn(self._base.ids)
    for name in self._replayed:
      intent = self._intents[name]
      if intent["kind"] == "learn":
        self.holdings.add(self._sources[name].train, f"task {self._sources[name].name!r}")
        self.holdings.learn(self._sources[name].train.ids)
      else:
        self.holdings.forget(intent["ids"])

  def _group(self) -> list[dict[str, Any]]:
    """The accepted requests that are honoured next: one, or several to forget."""
    while True:
      head = self._pending[0] if self._pending else None
      if head is not None and not self._missing and (head["kind"] == "forget" or head["request"] in self._sources):
        return self._filled()
      request = self._pull()
      if request is None:
        needed = sorted(self._missing | ({head["request"]} if head is not None else set()))
        if head is not None or self._held:
          raise ValueError(f"the service needs the data of the requests {needed}: give these Learn requests again")
        return []
      if request.name in self._intents:
        self._known(request)
        if self._ready:
          return []
      elif head is not None or self._missing:  # first what was accepted before, and the data that it needs
        self._held.append(request)
      else:
        self._accept(request)

  def _filled(self) -> list[dict[str, Any]]:
    group = [self._pending.popleft()]
    if group[0]["kind"] == "learn":
      return group
    while len(group) < self._batch:
      if not self._pending:
        request = self._pull()
        if request is None:
          break
        if request.name in self._intents:
          self._known(request)
          continue
        if isinstance(request, Learn):
          self._held.appendleft(request)
          break
        self._accept(request)
      if self._pending[0]["kind"] == "learn":
        break
      group.append(self._pending.popleft())
    return group

  def _pull(self) -> Learn | Forget | None:
    """The next request of the stream, checked and named; None at its end."""
    if self._held and not (self._missing or self._pending):
      return self._held.popleft()
    request = next(self._stream, None)
    if request is None:
      return None
    request = checked(request, self._position, self._method.name, self._verbs)
    self._position += 1
    return request

  def _known(self, request: Learn | Forget) -> None:
    """A request that was accepted before: its data, or its receipt again."""
    intent, name = self._intents[request.name], request.name
    kind = "learn" if isinstance(request, Learn) else "forget"
    ids = request.task.train.ids if kind == "learn" else request.ids
    if intent["kind"] != kind or (ids is not None and ids_digest(ids) != intent["ids_hash"]):
      raise ValueError(
        f"request {name!r} was accepted before as another one ({intent['kind']} of {intent['asked']} ids): give the "
        "same stream again, or name your requests"
      )
    if kind == "learn":
      self._sources[name] = request.task
      if name in self._missing:
        self._missing.discard(name)
        if not self._missing:
          self._replay()
    if name in self._early:  # answered before the stream came to it
      self._early.discard(name)
    elif name in self._receipts:
      self._ready.append(Receipt.from_entry(self._receipts[name]))

  def _accept(self, request: Learn | Forget) -> None:
    """Writes a request down."""
    if isinstance(request, Learn):
      kind, ids, about = "learn", request.task.train.ids, request.task.name
    else:
      kind, ids, about = "forget", request.ids, request.reason
      if ids is None:
        known = self.holdings.known()
        ids = [] if known is None else known.where(request.where(known)).ids.tolist()
    content = {
      "request": request.name,
      "kind": kind,
      "about": about,
      "asked": len(ids),
      "ids_hash": ids_digest(ids),
      "ids": None if kind == "learn" else list(ids),
      "accepted": float(self._clock()),
    }
    reach("before_accept")
    entry = self._archive.accept(content)
    reach("accepted")
    self._intents[request.name] = entry
    self._pending.append(entry)
    if kind == "learn":
      self._sources[request.name] = request.task

  def _answer(self, group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Does what a group of accepted requests asks for, and returns their receipts."""
    began = time.perf_counter()
    parts, taken = [], np.zeros(0, np.int64)
    for intent in group:
      if intent["kind"] == "learn":
        parts.append((self._sources[intent["request"]].train.ids, (), ()))
        continue
      live, gone, never = self.holdings.split(intent["ids"])
      twice = np.isin(live, taken)  # by an earlier request of the group
      parts.append((live[~twice], np.concatenate([gone, live[twice]]), never))
      taken = np.union1d(taken, live)
    work = self._archive.work(group[0]["seq"], group[-1]["seq"])
    changes = any(len(part[0]) for part in parts)
    reach("before_work")
    state, refs, figures, error = self.state, self.refs, {}, None
    if changes:
      try:
        state, refs, figures = self._apply(group[0], taken, work)
      except (ValueError, NonFiniteError) as failure:
        from unlearnjax.checkpoint import CheckpointError

        if isinstance(failure, CheckpointError):
          raise
        state, refs, error = self.state, self.refs, failure
    reach("after_work")
    before, done = self._digests, changes and error is None
    after = self._hashes(state, refs) if done else before
    shared = {
      "audit": figures,
      "cost": work.cost.to_dict(),
      "batch": [intent["request"] for intent in group],
      "params_before": before[0],
      "params_after": after[0],
      "state_after": after[1],
      "method": self._method.name,
      "config": self._config,
      **environment(),
      "finished": float(self._clock()),
      "seconds": round(time.perf_counter() - began, 6),
    }
    promise = self._promise(state, refs)
    receipts = [receipt_of(intent, part, shared, promise, error) for intent, part in zip(group, parts)]
    if done:
      entries = self._archive.commit({"state": state, "refs": refs}, receipts)
      self.state, self.refs, self._digests = state, refs, after
      if group[0]["kind"] == "learn":
        task = self._sources[group[0]["request"]]
        self.holdings.learn(task.train.ids)
      else:
        self.holdings.forget(taken)
    else:
      entries = self._archive.note(self._archive.ledger.seal(*receipts))
    self._receipts |= {entry["request"]: entry for entry in entries}
    self._archive.erase(group[-1]["seq"] + 1)
    self._run.cost.add(work.cost.to_dict())
    reach("after_erase")
    return entries

  def _apply(self, intent: Mapping[str, Any], ids: np.ndarray, work: Run):
    """New state, refs and audit figures; the old ones stay alive."""
    state = unshared(self.state, self.state, self.refs)
    with work.cost.measure():
      if intent["kind"] == "learn":
        task = self._sources[intent["request"]]
        self.holdings.add(task.train, f"task {task.name!r}")
        task = task._replace(seen=self.holdings.known(without=task.train.ids))
        state, refs = self._verbs.learn(state, self.refs, task, work)
      else:
        request = forget_request(self.holdings, ids, intent["about"], self._extra)
        state, refs = self._verbs.forget(state, self.refs, request, work)
      state, refs = jax.block_until_ready((state, dict(refs)))
    if intent["kind"] == "learn":  # measured in the same way
      request = ForgetRequest(None, everything(task), reason=intent["about"], extra=self._extra)
    figures = self._audit(self._verbs.model(state, refs), request)
    return state, refs, {k: float(v) for k, v in figures.items() if np.isfinite(v)}

  def _promise(self, state: Any, refs: Refs) -> Guarantee:
    promise = self._method.guarantee
    return promise(state, refs) if callable(promise) else promise

  def _hashes(self, state: Any = None, refs: Any = None) -> tuple[str, str]:
    """Of the served model and of everything that is kept."""
    state, refs = (self.state, self.refs) if state is None else (state, refs)
    model = self._verbs.model(state, refs)
    served = {"params": model.params, "state": model.state, "refs": dict(model.refs)}
    return tree_digest(served), tree_digest({"state": state, "refs": dict(refs)})
