"""Federated averaging whose clients can be removed (paper 47, arXiv:2406.09831, surveys the families).

Averaging: McMahan et al. 2017. Calibration: FedEraser, Liu et al., IWQoS 2021. Ascent: Halimi et al., arXiv:2207.05521.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import objectives, updates
from unlearnjax.core import (
  Guarantee,
  Method,
  ModelFn,
  UnlearnState,
  Verbs,
  check,
  descend,
  fit,
  need_retain,
  plain_model,
  replicate,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.memory import assign_shards
from unlearnjax.methods.parts import by_id, everything

REMOVALS = ("retrain", "eraser", "ascent")


def fed_avg(
  *,
  clients: int = 10,
  rounds: int = 20,
  learning_rate: float = 0.1,
  local_epochs: int = 1,
  batch_size: int = 32,
  removal: str = "retrain",
  every: int = 2,
  radius: float = 1.0,
  ascent_rate: float = 0.05,
  ascent_epochs: int = 5,
  repair_rounds: int = 2,
) -> Method:
  """FedAvg of simulated clients, theta <- sum_i (n_i / n) theta_i, with three ways to remove some of them.

  The clients train at once, on a leading axis of `vmap`, by plain SGD. An example belongs to the client that its column
  "client" names, or else to one by a hash of its id and the key. All keys and orders belong to (client, round), so that
  a client that is gone changes nothing about the others' draws.

  * "retrain": all rounds again without the data, from the same start. Exact, bit by bit; also for a part of a client.
  * "eraser": the updates D_i of every `every`-th round were kept. They are replayed without the removed clients: after
    the first round, each remaining client trains one epoch from the calibrated model, and its direction D'_i gets the
    kept length, |D_i| D'_i / |D'_i| (FedEraser). Empirical.
  * "ascent": from the mean of the others, (N theta - theta_k) / (N - 1), the removed clients' loss is maximized within
    a ball around it, then a few rounds follow without them. Empirical.

  Args:
    clients: N >= 2.
    rounds, local_epochs, learning_rate, batch_size: of training.
    removal: one of the three.
    every: rounds between kept updates, a divisor of `rounds`; the last round is always kept. Memory holds
      rounds / every + 1 models a client.
    radius, ascent_rate, ascent_epochs: of the ascent.
    repair_rounds: after the ascent.

  Raises:
    ValueError: arguments out of range, `forget` before `learn`, a second `learn` without `task.seen`, no retain set, or
      a request for a part of a client where whole clients are removed.

  Example:
    >>> fed_avg(clients=5, removal="eraser").name
    'fed_avg'
  """
  check.one_of("removal", removal, REMOVALS)
  if clients < 2:
    raise ValueError(f"clients must be >= 2, got {clients}")
  if rounds < 1 or every < 1 or rounds % every:
    raise ValueError(f"every must divide the number of rounds, {rounds}, got {every}")
  kept_rounds = sorted({*range(0, rounds, every), rounds - 1})

  def bind(fn: ModelFn) -> Verbs:
    locally = _locally(fn, learning_rate)
    rise = descend(
      {"forget": objectives.negated(objectives.cross_entropy(fn))},
      optax.chain(optax.sgd(ascent_rate), updates.within_ball("centre", radius)),
      state_from="forget",
      name="ascent",
    )

    def init(model, key):
      model = fn.init(fold_name(key, "start"))
      start = {"params": model.params, "state": model.state}
      many = lambda count: jax.tree.map(lambda x: jnp.zeros((count, clients, *x.shape), x.dtype), model.params)
      slots = {
        "start": start,
        "updates": many(len(kept_rounds)),
        "before_last": model.params,
        "sizes": jnp.zeros(clients),
      }
      return UnlearnState.create(model.params, rng=key, model_state=model.state, slots=slots), {}

    def owners(source, key):
      if "client" not in source.columns:
        return assign_shards(source.ids, key, clients, 1)[0]
      found = source.column("client")
      if len(found) and not 0 <= found.min() <= found.max() < clients:
        raise ValueError(f"the column 'client' must lie in [0, {clients}), got {found.min()}..{found.max()}")
      return found

    def one_round(state, net, parts, epochs, run, name):
      """All clients from `net`, each on its own data: ({params, state} by client, shares of the data)."""
      sizes = np.array([len(part) for part in parts])
      spare = parts[int(sizes.argmax())][:1]  # for clients without data, whose share is 0
      keys = jnp.stack([fold_name(state.rng, name, f"client{i}") for i in range(clients)])
      spread = lambda tree: jax.tree.map(lambda x: jnp.repeat(x[None], clients, 0), tree)
      create = lambda p, s, k: UnlearnState.create(p, rng=k, model_state=s)
      inner = locally.init(jax.vmap(create)(spread(net["params"]), spread(net["state"]), keys))
      sources = [part if len(part) else spare for part in parts]
      plan = zip_roles(train=sources, batch_size=batch_size, epochs=epochs)
      inner, _ = fit(locally, inner, plan, run=run, name=name)
      return {"params": inner.params, "state": inner.model_state}, jnp.asarray(sizes / sizes.sum(), jnp.float32)

    def parts_of(state, source):
      owner = owners(source, state.rng)
      return [source.where(owner == i) for i in range(clients)]

    def train(state, source, run):
      parts = parts_of(state, source)
      net, kept = state.slots["start"], []
      for t in range(rounds):
        before = net["params"]
        local, shares = one_round(state, net, parts, local_epochs, run, f"round{t}")
        net = average(local, shares)
        if t in kept_rounds:
          kept.append(present(difference(local["params"], before), shares, 0))
      slots = {
        **state.slots,
        "updates": jax.tree.map(lambda *x: jnp.stack(x), *kept),
        "before_last": before,
        "sizes": jnp.asarray([len(part) for part in parts], jnp.float32),
      }
      return state.replace(params=net["params"], model_state=net["state"], slots=slots)

    def learn(state, refs, task, run):
      if bool(state.slots["sizes"].any()) and task.seen is None:
        raise ValueError(f"fed_avg learns again only with task.seen, which task {task.name!r} lacks; uj.serve gives it")
      return train(state, everything(task), run), refs

    def forget(state, refs, request, run):
      if not bool(state.slots["sizes"].any()):
        raise ValueError("fed_avg must learn before it can forget: give uj.learn's result to uj.forget(start=)")
      gone, retain = by_id(request.forget), by_id(need_retain("fed_avg", request))
      if removal == "retrain":
        return train(state, retain, run), refs
      removed = np.unique(owners(gone, state.rng))
      if np.isin(removed, owners(retain, state.rng)).any():
        raise ValueError(f"removal={removal!r} removes whole clients; the request reaches a part of some of {removed}")
      parts = parts_of(state, retain)
      return (erase if removal == "eraser" else ascend)(state, removed, gone, parts, run), refs

    def erase(state, removed, gone, parts, run):
      del gone
      net, new = state.slots["start"], []
      for j, t in enumerate(kept_rounds):
        old = jax.tree.map(lambda x: jnp.asarray(x[j]).at[removed].set(0), state.slots["updates"])  # noqa: B023
        local, shares = one_round(state, net, parts, 1, run, f"calibrate{t}") if j else (None, _shares(parts))
        steps = calibrated(old, difference(local["params"], net["params"])) if j else old
        before = net["params"]
        moved = jax.tree.map(lambda p, d: p + jnp.tensordot(shares, d, 1).astype(p.dtype), before, steps)  # noqa: B023
        net = {"params": moved, "state": average(local, shares)["state"] if j else net["state"]}
        new.append(steps)
      return without(state, net, jax.tree.map(lambda *x: jnp.stack(x), *new), before, parts)

    def ascend(state, removed, gone, parts, run):
      count = float(np.sum(np.asarray(state.slots["sizes"]) > 0))
      theirs = jax.tree.map(lambda b, u: b + u[-1, removed].mean(0), state.slots["before_last"], state.slots["updates"])
      fewer = len(removed)
      centre = jax.tree.map(lambda p, k: (count * p - fewer * k) / max(count - fewer, 1), state.params, theirs)
      inner = UnlearnState.create(centre, rng=fold_name(state.rng, "ascent"), model_state=state.model_state)
      plan = zip_roles(forget=gone, batch_size=batch_size, epochs=ascent_epochs)
      inner, _ = fit(rise, rise.init(inner), plan, {"centre": centre}, run, name="ascent")
      net = {"params": inner.params, "state": inner.model_state}
      last = jax.tree.map(lambda x: x[-1], state.slots["updates"])
      before = net["params"]
      for t in range(repair_rounds):
        before = net["params"]
        local, shares = one_round(state, net, parts, local_epochs, run, f"repair{t}")
        net, last = average(local, shares), difference(local["params"], before)
      kept = jax.tree.map(lambda x, y: x.at[:, removed].set(0).at[-1].set(y), state.slots["updates"], last)
      return without(state, net, kept, before, parts)

    def without(state, net, kept, before, parts):
      """The state after a removal: nothing of the removed clients is kept."""
      sizes = jnp.asarray([len(part) for part in parts], jnp.float32)
      slots = {**state.slots, "updates": present(kept, sizes, 1), "before_last": before, "sizes": sizes}
      return state.replace(params=net["params"], model_state=net["state"], slots=slots)

    return Verbs(init, plain_model(fn), learn=learn, forget=forget)

  exact = Guarantee("exact", statement="the state is that of training without the data from the start, bit by bit")
  return Method("fed_avg", bind, exact if removal == "retrain" else Guarantee())


@functools.lru_cache(maxsize=64)
def _locally(fn: ModelFn, learning_rate: float):
  """The step of all clients; one value for each pair, so that ways of removal share their programs."""
  return replicate(
    descend({"train": objectives.cross_entropy(fn)}, optax.sgd(learning_rate), state_from="train", name="client")
  )


def _shares(parts) -> jax.Array:
  sizes = np.array([len(part) for part in parts])
  return jnp.asarray(sizes / sizes.sum(), jnp.float32)


@jax.jit
def average(local, shares):
  """sum_i share_i x_i over the leading axis; leaves that are no floats (counters, keys) are those of the first."""

  def leaf(x):
    return jnp.tensordot(shares, x, 1).astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else x[0]

  return jax.tree.map(leaf, local)


def present(kept, sizes, axis: int):
  """Updates with those of clients without data, which trained on a stand-in, set to 0."""
  shape = lambda x: [-1 if i == axis else 1 for i in range(x.ndim)]
  return jax.tree.map(lambda x: jnp.where((sizes > 0).reshape(shape(x)), x, 0), kept)


@jax.jit
def difference(local, before):
  """What each client added to the model that it was given."""
  return jax.tree.map(lambda x, y: x - y[None], local, before)


@jax.jit
def calibrated(old, new):
  """Directions of `new`, lengths of `old`, client by client: |D_i| D'_i / |D'_i| over all leaves together.

  Example:
    >>> both = {"w": jnp.array([[3.0, 4.0]])}
    >>> calibrated(both, both)["w"].tolist(), calibrated(both, {"w": jnp.array([[1.0, 0.0]])})["w"].tolist()
    ([[3.0, 4.0]], [[5.0, 0.0]])
  """
  norms = lambda tree: jnp.sqrt(sum(jnp.sum(x.reshape(len(x), -1) ** 2, 1) for x in jax.tree.leaves(tree)))
  length, now = norms(old), norms(new)
  ratio = jnp.where(now > 0, length / jnp.where(now > 0, now, 1), 0)
  return jax.tree.map(lambda x: x * ratio.reshape(-1, *[1] * (x.ndim - 1)), new)
