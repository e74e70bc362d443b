"""Weights that a network generates from a task's embedding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, Array, Model, ModelFn, Objective, Outputs, Params, Refs
from unlearnjax.reparam.bound import joined, read, refuse_twice


class Hypernet(NamedTuple):
  """A `Reparam` whose weights depend on the task: `generate(phi, task, refs) -> params`.

  `tasks` is how many there are room for, `refs[ref]` the target whose shapes are written.
  """

  init: Callable[[Array, Params], tuple[Params, Refs]]
  bind: Callable[[ModelFn], ModelFn]
  generate: Callable[[Params, Array, Refs], Params]
  tasks: int
  ref: str
  merge: None = None


def hypernet(
  tasks: int,
  *,
  hidden: tuple[int, ...] = (50, 50),
  task_size: int = 32,
  chunk: int | None = None,
  chunk_size: int = 32,
  activation: Callable[[Array], Array] = jax.nn.relu,
  ref: str = "target",
) -> Hypernet:
  """w = h([e_t; c_1]), h([e_t; c_2]), ...: a task is an embedding e_t, and one network h writes the weights of all.

  von Oswald et al., ICLR 2020, arXiv:1906.00695 (paper 121). Without chunks h writes all weights at once; with them it
  writes `chunk` numbers for each chunk embedding c_i, and what is left over at the end is cut off: h can then be
  smaller than the network it writes. `hypernet_regularizer` keeps the weights of earlier tasks in place.

  The bound model takes its task from `inputs["task"]`, int32[] or int32[B]. For a batch of several tasks it runs
  once a task and picks each row's own: `tasks` forward passes. Embeddings start as N(0, 1); the last layer of h is
  scaled so that the generated weights have the root mean square of the weights given to `init`. That is one number for
  all leaves: leave normalization layers out by `compose(select(".*kernel"), hypernet(...))`.

  Args:
    tasks: capacity, >= 1: the number of task embeddings.
    hidden: widths of h's hidden layers; () makes it linear.
    task_size: size of e_t.
    chunk: weights written at once; None for all.
    chunk_size: size of c_i.
    activation: of h's hidden layers.
    ref: name under which the target's weights are kept in refs. Only their shapes are read.

  Returns:
    a Hypernet. phi is {"tasks": f[tasks, task_size], "chunks": f[n, chunk_size] with chunks, "net": layers of h}.

  Raises:
    ValueError: sizes below 1; when called, inputs without a task.

  Example:
    >>> net = hypernet(tasks=3, hidden=(8,), chunk=5)
    >>> phi, refs = net.init(jax.random.key(0), {"w": jnp.ones((3, 4)), "b": jnp.zeros(4)})
    >>> phi["chunks"].shape, jax.tree.map(jnp.shape, net.generate(phi, 1, refs))
    ((4, 32), {'b': (4,), 'w': (3, 4)})
  """
  for name, value in (("tasks", tasks), ("task_size", task_size), ("chunk_size", chunk_size), *_widths(hidden)):
    check.positive(name, value)
  if chunk is not None:
    check.positive("chunk", chunk)

  def init(key: Array, params: Params) -> tuple[Params, Refs]:
    leaves = jax.tree.leaves(params)
    total = sum(leaf.size for leaf in leaves)
    scale = jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves) / total)
    sizes = (task_size + (chunk_size if chunk else 0), *hidden, chunk or total)
    normal = lambda name, *shape: jax.random.normal(fold_name(key, name), shape)
    net = {}
    for i, (wide, out) in enumerate(zip(sizes, sizes[1:])):
      gain = jnp.sqrt(2 / wide) if i + 1 < len(sizes) - 1 else scale / math.sqrt(wide)
      net[str(i)] = {"kernel": gain * normal(f"net/{i}", wide, out), "bias": jnp.zeros(out)}
    phi = {"tasks": normal("tasks", tasks, task_size), "net": net}
    if chunk:
      phi["chunks"] = normal("chunks", -(-total // chunk), chunk_size)
    return phi, {ref: params}

  def generate(phi: Params, task: Array, refs: Refs) -> Params:
    like = read(refs, ref)
    h = phi["tasks"][task][None]
    if chunk:
      h = jnp.concatenate([jnp.broadcast_to(h, (phi["chunks"].shape[0], h.shape[1])), phi["chunks"]], axis=1)
    for i in range(len(hidden) + 1):
      layer = phi["net"][str(i)]
      h = h @ layer["kernel"] + layer["bias"]
      h = activation(h) if i < len(hidden) else h
    leaves, flat, start = [], h.ravel(), 0
    for leaf in jax.tree.leaves(like):
      leaves.append(flat[start : start + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
      start += leaf.size
    return jax.tree.unflatten(jax.tree.structure(like), leaves)

  def bind(fn: ModelFn) -> ModelFn:
    refuse_twice(fn, ref)
    return HypernetFn(fn, generate, init, ref, tasks)

  return Hypernet(init, bind, generate, tasks, ref)


@dataclasses.dataclass(frozen=True)
class HypernetFn:
  """`fn` with the weights of the task in `inputs["task"]`."""

  fn: ModelFn
  generate: Callable[[Params, Array, Refs], Params]
  start: Callable[[Array, Params], tuple[Params, Refs]]
  ref: str
  tasks: int

  def __call__(self, params: Params, inputs: Mapping[str, Array], *, refs: Refs = EMPTY, **rest: Any) -> Outputs:
    if "task" not in inputs:
      raise ValueError(f"a hypernetwork needs inputs['task'], or at_task; found {sorted(inputs)}")
    task = jnp.asarray(inputs["task"])
    run = lambda t: self.fn(self.generate(params, t, refs), {**inputs, "task": t}, refs=refs, **rest)
    if task.ndim == 0:
      return run(task)
    if rest.get("train") and jax.tree.leaves(rest.get("state", ())):
      raise ValueError("rows of several tasks cannot share a model state in training: give one task a batch, at_task")
    return _pick(jax.lax.map(run, jnp.arange(self.tasks)), task, rest.get("state", ()))

  def init(self, key: Array) -> Model:
    """A fresh hypernetwork over fresh target shapes."""
    model = self.fn.init(fold_name(key, "model"))
    phi, refs = self.start(fold_name(key, self.ref), model.params)
    return Model(phi, model.state, joined(model.refs, refs), self)


@dataclasses.dataclass(frozen=True)
class AtTask:
  """See `at_task`."""

  inner: ModelFn
  name: str

  def __call__(self, params, inputs, *, refs=EMPTY, **rest):
    return self.inner(params, {**inputs, "task": jnp.asarray(entry(refs, self.name))}, refs=refs, **rest)


def at_task(fn: ModelFn, name: str = "task") -> ModelFn:
  """The model at one task for all rows: the number `refs[name]`, int32[], whatever the inputs say.

  It is what a learner trains on: the task changes without a new compilation.

  Example:
    >>> fn = lambda params, inputs, **_: Outputs(inputs["task"] + inputs["x"])
    >>> at_task(fn)({}, {"x": jnp.zeros(2)}, refs={"task": jnp.array(7)}).logits.tolist()
    [7.0, 7.0]
  """
  return AtTask(fn, name)


@dataclasses.dataclass(frozen=True)
class ByEntropy:
  """See `by_entropy`."""

  inner: ModelFn
  tasks: int
  seen: str
  classes: str | None

  def __call__(self, params, inputs, *, refs=EMPTY, **rest):
    inputs = {k: v for k, v in inputs.items() if k != "task"}
    outs = jax.lax.map(lambda t: self.inner(params, {**inputs, "task": t}, refs=refs, **rest), jnp.arange(self.tasks))
    logits = outs.logits.astype(jnp.promote_types(outs.logits.dtype, jnp.float32))
    if self.classes is not None:
      lowest = jnp.finfo(logits.dtype).min
      logits = jnp.where(jnp.asarray(entry(refs, self.classes), bool)[:, None], logits, lowest)
    probs = jax.nn.softmax(logits, axis=-1)
    entropy = -jnp.sum(jax.scipy.special.xlogy(probs, probs), axis=-1)
    known = jnp.arange(self.tasks) < entry(refs, self.seen)
    task = jnp.argmin(jnp.where(known[:, None], entropy, jnp.inf), axis=0)
    return _pick(outs.replace(logits=logits.astype(outs.logits.dtype)), task, rest.get("state", ()))


def by_entropy(fn: ModelFn, tasks: int, *, seen: str = "seen", classes: str | None = None) -> ModelFn:
  """The model without a task in its inputs: each row takes the task whose prediction has the smallest entropy.

  "HNET+ENT" of von Oswald et al., arXiv:1906.00695. It costs `tasks` forward passes.

  Args:
    fn: a model that takes `inputs["task"]`, with logits f[B, C].
    tasks: capacity.
    seen: `refs[seen]`, int32[], how many tasks have been learnt; later ones are not candidates.
    classes: `refs[classes]`, bool[tasks, C], the classes of each task: others cannot be predicted at that task.

  Example:
    >>> sure = jnp.array([[0.0, 0.0], [0.0, 5.0]])  # task 1 is certain
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] * sure[inputs["task"]])
    >>> by_entropy(fn, 2)({}, {"x": jnp.ones((1, 1))}, refs={"seen": 2}).logits.tolist()
    [[0.0, 5.0]]
  """
  return ByEntropy(fn, tasks, seen, classes)


def hypernet_regularizer(net: Hypernet, *, reference: str = "snapshot", seen: str = "seen") -> Objective:
  """R = 1/n sum_{j < n} |h(e_j, theta*) - h(e_j, theta)|^2: the weights of the n tasks learnt so far stay put.

  A sum over all generated weights: its coefficient beta depends on the size of the target. Targets and embeddings are
  those of a snapshot taken before the new task, so that embeddings receive no gradient; 0 before the second task.
  Given to `updates.lookahead` it is the paper's regularizer, evaluated where the task's own step would lead; as a role
  of its own it is the variant without look-ahead, whose gradient is zero at the first step of a task.

  Args:
    net: from `hypernet`.
    reference: name of `refs[reference] = {"params": phi*}`.
    seen: name of `refs[seen]`, int32[], the number n of tasks to keep.

  Raises:
    ValueError: when called, for a missing ref.
  """

  def objective(params: Params, batch: Any, view: Any) -> tuple[Array, dict]:
    del batch
    fixed = jax.lax.stop_gradient(entry(view.refs, reference)["params"])
    count = jnp.asarray(entry(view.refs, seen))
    phi = {**params, "tasks": fixed["tasks"]}

    def gap(task):
      new, old = net.generate(phi, task, view.refs), net.generate(fixed, task, view.refs)
      gaps = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a.astype(jnp.float32) - b.astype(jnp.float32))), new, old)
      return sum(jax.tree.leaves(gaps))

    def add(total, task):
      return total + jax.lax.cond(task < count, gap, lambda task: jnp.zeros(()), task), None

    total, _ = jax.lax.scan(jax.checkpoint(add), jnp.zeros(()), jnp.arange(net.tasks))
    return total / jnp.maximum(count, 1), {}

  return objective


def entry(refs: Refs, name: str) -> Any:
  """`refs[name]`, or an error that lists what there is."""
  if name not in refs:
    raise ValueError(f"refs has no {name!r}; found {sorted(refs)}")
  return refs[name]


def _pick(outs: Outputs, task: Array, state: Any) -> Outputs:
  """Row b of task[b] from outputs stacked over tasks; the state is left as it was."""
  rows = jnp.arange(task.shape[0])
  pick = lambda stacked: stacked[task, rows]
  return Outputs(pick(outs.logits), jax.tree.map(pick, dict(outs.hidden)), state)


def _widths(hidden: tuple[int, ...]) -> list[tuple[str, int]]:
  return [("hidden", width) for width in hidden]
