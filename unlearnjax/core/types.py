"""The values that everything else is made of.

A `Loss` is a function of arrays; an `Objective` binds it to a model; a
`Combiner` turns one gradient per role into one gradient; a `Transform` is one
pure step of an `UnlearnState`; a `Statistic` is a streaming fold over data; a
`Method` is a paper with its defaults. All of them are functions or tuples of
functions: they can be jitted, vmapped, scanned and replaced one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax

Array = jax.Array
ArrayTree = Any  # a pytree whose leaves are arrays
Params = ArrayTree
Refs = Mapping[str, ArrayTree]  # read-only arrays: never donated, saved once
RoleBatch = Mapping[str, Any]  # "inputs": {...}, targets, "id": int32[B], "valid": bool[B]
Batch = Mapping[str, Any]  # by role; reserved keys: RESERVED_ROLES
Info = Mapping[str, Array]
Aux = Mapping[str, Any]

EMPTY: Mapping[str, Any] = {}

INPUT_KEYS = ("x", "tokens", "positions", "segment_ids", "prefix", "cache", "cond", "t", "task")
"""Columns that a role batch hands to the model under `inputs`; all others are targets or bookkeeping."""

RESERVED_ROLES = ("phase", "progress", "info")
"""Batch keys that are not roles: the phase of a `cycle`, the fraction of the plan done, info of earlier links."""


@flax.struct.dataclass
class Outputs:
  """What a model returns.

  Attributes:
    logits: f[B, ...] predictions: class logits [B, C], token logits [B, T, V], or regression outputs [B, K].
    hidden: the captured activations by site name.
    state: the non-parameter variables after the call, with the structure of the `state` passed in.
  """

  logits: Array
  hidden: Mapping[str, Array] = flax.struct.field(default_factory=dict)
  state: ArrayTree = ()


class ModelFn(Protocol):
  """A pure forward pass: `fn(params, {"x": x}, state=..., train=False).logits`.

  Sites are submodule paths such as `"blocks/1"` (its output) or `"head:in"` (its first input). `capture` reads them
  into `Outputs.hidden`; `inject` maps a site to a function that rewrites it: prompts, steering and latent attacks are
  injections. `init(key)` makes a fresh `Model` of the same architecture.
  """

  def __call__(
    self,
    params: Params,
    inputs: Mapping[str, Array],
    *,
    state: ArrayTree = (),
    refs: Refs = EMPTY,
    rng: Array | None = None,
    train: bool = False,
    capture: tuple[str, ...] = (),
    inject: Mapping[str, Callable[[Array], Array]] = EMPTY,
  ) -> Outputs: ...

  def init(self, key: Array) -> Model: ...


@flax.struct.dataclass
class Model:
  """A model as a value: what metrics, attacks, guards and users pass around.

  Calling it is inference: `model({"x": x}).logits`.
  """

  params: Params
  state: ArrayTree = ()
  refs: Refs = flax.struct.field(default_factory=dict)
  fn: ModelFn = flax.struct.field(pytree_node=False, default=None)

  def __call__(self, inputs: Mapping[str, Array], **kwargs) -> Outputs:
    return self.fn(self.params, inputs, state=self.state, refs=self.refs, **kwargs)


class View(NamedTuple):
  """What an objective, a combiner or an update rule may read besides parameters and data.

  `rng` is folded by step, transform, role, microbatch and task, so no two draws coincide. `progress` in [0, 1) is the
  fraction of the running plan that is done: schedules that read it do not depend on how long the plan is.
  """

  step: Array
  rng: Array
  refs: Refs
  slots: Mapping[str, ArrayTree]
  model_state: ArrayTree
  progress: Array | float = 0.0


Loss = Callable[..., Array]  # arrays -> f[B]
Objective = Callable[[Params, RoleBatch | None, View], tuple[Array, Aux]]
"""`(params, role batch, view) -> (mean loss, aux)`. `aux["weight"]` is the denominator of the mean (needed for exact
microbatching), `aux["state"]` the new model state; other scalars are logged, other arrays reach later links."""


class Combiner(NamedTuple):
  """Turns `{role: gradient}` into one gradient.

  `update(grads, state, params, *, values=None, view=None, valid=None) -> (gradient, state)`. `weights(state, roles)`
  gives the coefficients before the backward pass and is present iff the combiner is linear: roles then share one
  backward pass and K - 1 gradient trees of memory are saved.
  """

  init: Callable[[Params], ArrayTree]
  update: Callable[..., tuple[Params, ArrayTree]]
  weights: Callable[[ArrayTree, tuple[str, ...]], Mapping[str, Array]] | None = None


class Transform(NamedTuple):
  """One pure step. `update(state, batch, refs) -> (state, info)`; `info["ok"]` is False once anything is not finite."""

  init: Callable[[Any], Any]
  update: Callable[[Any, Batch, Refs], tuple[Any, Info]]


class Statistic(NamedTuple):
  """A streaming fold over data, the only pass without an update.

  `init(model) -> acc`; `update(acc, model, role_batch, rng) -> acc` is jitted and must weigh rows by `valid`;
  `finish(acc) -> result`. `backward` is how many backward passes an example costs (0: forward only); it feeds the
  cost ledger. `batch_size`, where set, is part of the statistic's definition (e.g. squared batch-mean gradients).
  """

  init: Callable[[Model], ArrayTree]
  update: Callable[[ArrayTree, Model, RoleBatch, Array], ArrayTree]
  finish: Callable[[ArrayTree], Any] = lambda acc: acc
  backward: int = 0
  batch_size: int | None = None


class Reparam(NamedTuple):
  """`init(key, params) -> (phi, refs)`; `bind(fn over theta) -> fn over phi`; `merge(phi, refs) -> params`."""

  init: Callable[[Array, Params], tuple[Params, Refs]]
  bind: Callable[[ModelFn], ModelFn]
  merge: Callable[[Params, Refs], Params] | None = None


class Memory(NamedTuple):
  """A fixed-capacity buffer: `init(example) -> tree`, `add(tree, role batch, key) -> tree`, `read(tree, key, size)`."""

  init: Callable[[RoleBatch], ArrayTree]
  add: Callable[[ArrayTree, RoleBatch, Array], ArrayTree]
  read: Callable[[ArrayTree, Array, int], RoleBatch]


class Guard(NamedTuple):
  """Changes inference and leaves the weights: `init(model, key) -> refs`, `bind(fn) -> fn`."""

  init: Callable[[Model, Array], Refs]
  bind: Callable[[ModelFn], ModelFn]


class Task(NamedTuple):
  """Something to learn. `train` and `test` are `Source`s; `classes` are the labels that occur in it,
  empty where that is not known.

  `seen` holds what was learned before and not forgotten, where whoever drives the method keeps it (`uj.serve` does):
  systems that store their data, such as shards that are trained again, may read it. A continual learner may not.
  """

  name: str
  index: int
  train: Any
  test: Any | None = None
  classes: tuple[int, ...] = ()
  seen: Any | None = None


class ForgetRequest(NamedTuple):
  """Something to forget. `forget` and `retain` are `Source`s over one table; `extra` holds further sources by name
  ("test", "test_forget", "validation", "unseen"); `classes` the labels that disappear whole."""

  forget: Any
  retain: Any | None = None
  ids: Any = None
  reason: str = ""
  extra: Mapping[str, Any] = EMPTY
  classes: tuple[int, ...] = ()


class Verbs(NamedTuple):
  """A method bound to a model function.

  `init(model, key) -> (state, refs)` creates every slot, buffer and ref that will ever exist; `model(state, refs)` is
  what the world sees; `learn(state, refs, task, run)` takes a new task, and is also the preparation stage of methods
  that need the data before any request; `forget(state, refs, request, run)` honours a request.
  """

  init: Callable[[Model, Array], tuple[Any, Refs]]
  model: Callable[[Any, Refs], Model]
  learn: Callable[[Any, Refs, Task, Any], tuple[Any, Refs]] | None = None
  forget: Callable[[Any, Refs, ForgetRequest, Any], tuple[Any, Refs]] | None = None


class Guarantee(NamedTuple):
  """What a deletion promises.

  Attributes:
    kind: "exact" (the state is what it would be without the data), "certified" (its distribution is within
      (epsilon, delta) of that) or "empirical" (nothing is proved; audits measure it).
    epsilon, delta: of a certified deletion.
    statement: of what exactly, in a sentence.
  """

  kind: str = "empirical"
  epsilon: float | None = None
  delta: float | None = None
  statement: str = ""


class Method(NamedTuple):
  """A paper with its defaults. `bind(model_fn)` builds objectives and transforms once: later requests do not
  recompile. `guarantee` is what each of its deletions promises, or a function `(state, refs) -> Guarantee` where that
  depends on what was done."""

  name: str
  bind: Callable[[ModelFn], Verbs]
  guarantee: Guarantee | Callable[[Any, Refs], Guarantee] = Guarantee()
