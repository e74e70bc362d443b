"""One stream of requests against one state."""

from __future__ import annotations

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
from unlearnjax.serving.archive import Archive
from unlearnjax.serving.faults import reach
from unlearnjax.serving.holdings import Holdings
from unlearnjax.serving.intake import Intake
from unlearnjax.serving.receipts import environment, forget_request, receipt_of
from unlearnjax.serving.requests import Receipt, checked, configuration, ids_digest, tree_digest

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

    self._method, self._run, self._clock = method, run, clock
    self._audit, self._extra = audit or accuracies, dict(extra)
    self._verbs = bound(method, model.fn)
    self.state, self.refs = self._verbs.init(model, key) if start is None else start
    self.state, self.refs = unshared(self.state, model, start), dict(self.refs)
    self._config = configuration(method) | config
    base = None if data is None else as_examples(data)
    header = {
      "method": method.name,
      "config": self._config,
      "key": [int(word) for word in np.asarray(jax.random.key_data(key)).ravel()],
      "start": tree_digest({"state": self.state, "refs": self.refs}),
      "data": None if base is None else ids_digest(base.ids),
    }
    self._archive = Archive(run, header)
    try:
      tree = self._archive.restore({"state": self.state, "refs": self.refs})
      if tree is not None:
        self.state, self.refs = tree["state"], tree["refs"]
      self._digests = self._hashes()
      check = lambda request, position: checked(request, position, method.name, self._verbs)
      self._intake = Intake(self._archive, requests, check, base, batch, clock)
    except BaseException:
      self._archive.close()
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
    self._intake.close()

  @property
  def model(self) -> Model:
    return self._verbs.model(self.state, self.refs)

  @property
  def holdings(self) -> Holdings:
    return self._intake.holdings

  def __next__(self) -> Receipt:
    intake = self._intake
    try:
      while not intake.ready:
        group = intake.group()
        if group:
          intake.answered(self._answer(group))
        elif not intake.ready:
          self.close()
          raise StopIteration
      return intake.ready.popleft()
    except BaseException:
      self.close()
      raise

  def _answer(self, group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Does what a group of accepted requests asks for, and returns their receipts."""
    began = time.perf_counter()
    parts, taken = [], np.zeros(0, np.int64)
    for intent in group:
      if intent["kind"] == "learn":
        parts.append((self._intake.task(intent["request"]).train.ids, (), ()))
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
        task = self._intake.task(group[0]["request"])
        self.holdings.learn(task.train.ids)
      else:
        self.holdings.forget(taken)
    else:
      entries = self._archive.note(self._archive.ledger.seal(*receipts))
    self._archive.erase(group[-1]["seq"] + 1)
    self._run.cost.add(work.cost.to_dict())
    reach("after_erase")
    return entries

  def _apply(self, intent: Mapping[str, Any], ids: np.ndarray, work: Run):
    """New state, refs and audit figures; the old ones stay alive."""
    state = unshared(self.state, self.state, self.refs)
    with work.cost.measure():
      if intent["kind"] == "learn":
        task = self._intake.task(intent["request"])
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
