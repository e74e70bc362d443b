"""Which accepted requests are honoured next: the stream, what an earlier run accepted, and the data that they need."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from unlearnjax.core import Examples
from unlearnjax.serving.archive import DONE, Archive
from unlearnjax.serving.faults import reach
from unlearnjax.serving.holdings import Holdings
from unlearnjax.serving.requests import Forget, Learn, Receipt, ids_digest

Request = Learn | Forget


class Intake:
  """The queue of a service, at first as the last run left it.

  Attributes:
    holdings: what is live once the data of all that was done is there.
    ready: receipts of requests that were answered before, to be given again.
  """

  def __init__(
    self,
    archive: Archive,
    stream: Iterable[Request],
    check: Callable[[Request, int], Request],
    base: Examples | None,
    batch: int,
    clock: Callable[[], float],
  ):
    self._archive, self._check, self._base, self._batch, self._clock = archive, check, base, batch, clock
    self._stream, self._position = iter(stream), 0
    intents = archive.intents.entries[1:]
    self._intents = {entry["request"]: entry for entry in intents}
    self._receipts = {entry["request"]: entry for entry in archive.ledger.entries}
    self._pending = collections.deque(e for e in intents if e["request"] not in self._receipts)
    self._early = {entry["request"] for entry in self._pending}
    self._held: collections.deque[Request] = collections.deque()
    self.ready: collections.deque[Receipt] = collections.deque()
    self._sources: dict[str, Any] = {}
    self._replayed = [e["request"] for e in archive.ledger.entries if e["outcome"] == DONE]
    self._missing = {name for name in self._replayed if self._intents[name]["kind"] == "learn"}
    self.holdings = Holdings()
    archive.erase(self._pending[0]["seq"] if self._pending else len(intents) + 1)
    if not self._missing:
      self._replay()

  def close(self) -> None:
    """Reads no more of the stream."""
    self._stream = iter(())

  def task(self, name: str) -> Any:
    """The data of a request to learn."""
    return self._sources[name]

  def answered(self, entries: Iterable[Mapping[str, Any]]) -> None:
    """Remembers receipts, and lets them out."""
    for entry in entries:
      self._receipts[entry["request"]] = entry
      self.ready.append(Receipt.from_entry(entry))

  def _replay(self) -> None:
    """Rebuilds what is live from the requests that were done, once their data is there."""
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

  def group(self) -> list[dict[str, Any]]:
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
        if self.ready:
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

  def _pull(self) -> Request | None:
    """The next request of the stream, checked and named; None at its end."""
    if self._held and not (self._missing or self._pending):
      return self._held.popleft()
    request = next(self._stream, None)
    if request is None:
      return None
    request = self._check(request, self._position)
    self._position += 1
    return request

  def _known(self, request: Request) -> None:
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
      self.ready.append(Receipt.from_entry(self._receipts[name]))

  def _accept(self, request: Request) -> None:
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
