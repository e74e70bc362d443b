"""The verb `serve`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from unlearnjax.core import Method, Model, Run, check
from unlearnjax.core.types import EMPTY, Array, Refs
from unlearnjax.serving.requests import Forget, Learn
from unlearnjax.serving.service import Audit, Service


def serve(
  method: Method,
  model: Model,
  requests: Iterable[Learn | Forget],
  run: Run | None = None,
  *,
  key: Array,
  data: Any = None,
  start: tuple[Any, Refs] | None = None,
  batch: int = 1,
  audit: Audit | None = None,
  extra: Mapping[str, Any] = EMPTY,
  config: Mapping[str, Any] = EMPTY,
  clock: Callable[[], float] = time.time,
) -> Service:
  """Honours a stream of requests against one state, and gives a receipt for each.

  A request is accepted once it stands in `intents.jsonl`; its receipt goes to `ledger.jsonl` and the state to the
  checkpoints, together. A crash at any point loses no accepted request and applies none twice: start the service again
  with the stream from the beginning, or, where requests have names, with the `Learn` requests whose data is needed and
  whatever is new. What was accepted and not done is done first; a request that was answered before gets the same
  receipt again. Without `run.out` nothing is kept.

  Args:
    method: with the verbs that the stream asks for; `serving.with_learning` gives `learn` to those that only forget.
    model: where the method starts.
    requests: any iterable; it is read one request at a time, when the one before is answered.
    run: where to save, progress, mesh. A directory belongs to one service, and one process at a time.
    key: a typed key; same key and same stream, same bits.
    data: what the model knows before the first request, a `Source`; None: nothing.
    start: `(state, refs)` to go on from, of an earlier `uj.learn`, instead of the method's own start.
    batch: up to this many forget requests in a row are honoured as one. The stream is then read ahead.
    audit: `(model, request) -> figures`, measured after each request; `serving.accuracies` by default. For one to
      learn, `request.forget` is None and `request.retain` all that is known.
    extra: further sets of every `ForgetRequest`, such as "test".
    config: added to the configuration in the receipts, beside the factory's numbers.
    clock: seconds since 1970. It may go backwards.

  Returns:
    an iterator of `Receipt`s that also has `model`, `state`, `refs` and `holdings` as they stand, and is a context
    manager.

  Raises:
    unlearnjax.lock.Busy: another service writes in the directory.
    unlearnjax.ledger.LedgerError: the directory belongs to another service, or was tampered with.
    ValueError, while iterating: a request that the method has no verb for, or of the name of another one; it is not
      accepted. An accepted request that fails with a ValueError or becomes non-finite gets a receipt that
      says so, and changes nothing.
    OSError, while iterating: a full disk; nothing is half-applied, and the next start goes on.

  Example:
    >>> import jax, optax
    >>> import unlearnjax as uj
    >>> data = uj.data.load("digits")
    >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10)
    >>> method = uj.methods.sisa(shards=2, slices=1, recipe=uj.Recipe(optax.sgd(0.1), epochs=1))
    >>> stream = [uj.Learn(uj.Task("all", 0, data.train)), uj.Forget([3, 4]), uj.Forget([3])]
    >>> receipts = list(uj.serve(method, fn.init(jax.random.key(0)), stream, key=jax.random.key(1)))
    >>> [(r.request, r.outcome, r.affected) for r in receipts]
    [('#0', 'done', 1438), ('#1', 'done', 2), ('#2', 'already forgotten', 0)]
    >>> receipts[1].guarantee["kind"], receipts[1].params_after == receipts[2].params_after
    ('exact', True)
  """
  check.positive("batch", batch)
  return Service(method, model, requests, run or Run(), key, data, start, batch, audit, extra, dict(config), clock)
