"""What a service is asked, and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Examples, Task, Verbs, as_examples
from unlearnjax.core.tree import paths


class Learn(NamedTuple):
  """A request to learn a task.

  Attributes:
    task: what to learn. Ids name examples over the whole life of a service: those of two tasks must not clash.
    name: identifies the request for ever; by default its place in the stream, `"#3"`.
  """

  task: Task
  name: str | None = None


class Forget(NamedTuple):
  """A request to forget examples.

  Attributes:
    ids: int ids of examples.
    where: instead of ids, `(Examples) -> bool[n]`, asked about all that is known when the request is accepted.
    reason: kept with the receipt.
    name: identifies the request for ever; by default its place in the stream, `"#3"`.
  """

  ids: Iterable[int] | None = None
  where: Callable[[Examples], np.ndarray] | None = None
  reason: str = ""
  name: str | None = None


class Receipt(NamedTuple):
  """What was done about one request: a line of `ledger.jsonl`.

  Attributes:
    seq: its number; the order of the ledger is that of the numbers, whatever the clock said.
    request, kind, reason: which request.
    outcome: "done", "already forgotten", "never learned", "nothing to do" (some of each, or no ids at all), or
      "failed"; only "done" has changed anything.
    detail: the counts, or the error, in words.
    asked, affected, already_forgotten, never_learned: numbers of ids.
    ids_hash: SHA-256 of the affected ids; see `ids_digest`.
    method, config: what did it.
    guarantee: `{"kind": "exact" | "certified" | "empirical", "epsilon", "delta", "statement"}` of a deletion, or None.
    audit: figures measured afterwards.
    batch: names of the requests that were honoured together; cost, audit and hashes are those of all of them.
    params_before, params_after: SHA-256 of the model that was served before and after.
    state_after: SHA-256 of everything that the service keeps.
    cost: gradient evaluations, forward evaluations, steps, seconds, compile seconds, peak bytes.
    seconds: wall time from acceptance to the end of the work, compilation and audit included.
    accepted, finished: seconds since 1970 as the clock showed them.
    versions, commit: of the libraries and of the code.
    previous, hash: its place in the chain.
  """

  seq: int
  request: str
  kind: str
  reason: str
  outcome: str
  detail: str
  asked: int
  affected: int
  already_forgotten: int
  never_learned: int
  ids_hash: str
  method: str
  config: Mapping[str, Any]
  guarantee: Mapping[str, Any] | None
  audit: Mapping[str, float]
  batch: tuple[str, ...]
  params_before: str
  params_after: str
  state_after: str
  cost: Mapping[str, Any]
  seconds: float
  accepted: float
  finished: float
  versions: Mapping[str, Any]
  commit: str | None
  previous: str
  hash: str

  @classmethod
  def from_entry(cls, entry: Mapping[str, Any]) -> Receipt:
    """The receipt of a line of the ledger."""
    return cls(**{**entry, "batch": tuple(entry["batch"])})


def checked(request: Any, position: int, method: str, verbs: Verbs) -> Learn | Forget:
  """The request with a name, and its examples in memory.

  Raises:
    TypeError: it is no request.
    ValueError: the method has no verb for it, or it names no ids, or twice.
  """
  if not isinstance(request, (Learn, Forget)):
    raise TypeError(f"requests must be Learn or Forget, got {type(request).__name__}")
  if request.name is None:
    request = request._replace(name=f"#{position}")
  if isinstance(request, Learn):
    if verbs.learn is None:
      raise ValueError(f"{method} can forget but not learn: give it a verb by serving.with_learning")
    return request._replace(task=request.task._replace(train=as_examples(request.task.train)))
  if verbs.forget is None:
    raise ValueError(f"{method} can learn but not forget")
  if (request.ids is None) == (request.where is None):
    got = "neither" if request.ids is None else "both"
    raise ValueError(f"request {request.name!r} must have either ids or where, got {got}")
  return request if request.ids is None else request._replace(ids=[int(i) for i in request.ids])


def ids_digest(ids: Iterable[int]) -> str:
  """SHA-256 of a set of ids: sorted, without repetitions, as little-endian int64.

  Example:
    >>> ids_digest([3, 1, 3]) == ids_digest(np.array([1, 3]))
    True
  """
  return hashlib.sha256(np.unique(np.asarray(list(ids), "<i8")).tobytes()).hexdigest()


def tree_digest(tree: Any) -> str:
  """SHA-256 of a tree of arrays: paths, dtypes, shapes and bits. Equal digests are equal bits.

  Example:
    >>> tree_digest({"w": np.zeros(2)}) == tree_digest({"w": jnp.zeros(2, jnp.float32)})
    False
    >>> tree_digest({"w": np.zeros(2, np.float32)}) == tree_digest({"w": jnp.zeros(2, jnp.float32)})
    True
  """
  found = hashlib.sha256()
  for path, leaf in zip(paths(tree), jax.tree.leaves(tree)):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    found.update(f"{path}:{array.dtype}{list(array.shape)}\n".encode())
    found.update(np.ascontiguousarray(array).tobytes())
  return found.hexdigest()


def configuration(method: Any) -> dict[str, Any]:
  """The arguments of a method's factory that are numbers, text or tuples of them: what its `bind` closes over.

  Example:
    >>> from unlearnjax import methods
    >>> configuration(methods.salun(density=0.3))["density"]
    0.3
  """
  code, cells = getattr(method.bind, "__code__", None), getattr(method.bind, "__closure__", None) or ()
  found = {}
  for name, cell in zip(code.co_freevars if code else (), cells):
    try:
      found |= _plain(name, cell.cell_contents)
    except ValueError:  # an empty cell
      continue
  return dict(sorted(found.items()))


def _plain(name: str, value: Any) -> dict[str, Any]:
  if value is None or isinstance(value, (bool, int, float, str)):
    return {name: value}
  if isinstance(value, tuple) and hasattr(value, "_asdict"):  # a Recipe, a Guarantee: their numbers
    return {k: v for key, item in value._asdict().items() for k, v in _plain(f"{name}.{key}", item).items()}
  if isinstance(value, (tuple, list)) and all(isinstance(v, (bool, int, float, str)) for v in value):
    return {name: list(value)}
  return {}
