"""SAFE: machine unlearning with shard graphs. Dukler et al., ICCV 2023, arXiv:2304.13169 (paper 40)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import reparam
from unlearnjax.core import Guarantee, Method, Model, ModelFn, UnlearnState, Verbs, as_examples, check, need_retain
from unlearnjax.core.tree import fold_name
from unlearnjax.memory import affected, assign_shards, shard_graph
from unlearnjax.methods.exact.members import put, train_member
from unlearnjax.methods.parts import by_id, everything
from unlearnjax.models.ensembles import ensemble
from unlearnjax.training import Recipe, trainer


def safe(
  *,
  reads: np.ndarray | None = None,
  shards: int = 8,
  degree: int = 2,
  where: str | tuple[str, ...] = ".*kernel",
  rank: int = 4,
  recipe: Recipe | None = None,
  aggregate: str = "mean",
) -> Method:
  """One light adapter a shard, which also learns from the shards that a graph lets it read. Exact.

  Every example belongs to a shard by a hash of its id and the key. The adapter of shard i, LoRA factors over the
  frozen model, starts fresh and is trained on all shards j with reads[i, j]. A deletion from shard j trains every
  adapter again that reads j. The prediction is that of the ensemble. Keys and orders belong to the shard, so the state
  is, bit by bit, what `learn` makes of the retain set alone. The frozen model must not have seen what may be forgotten.

  Args:
    reads: bool[n, n] with a true diagonal, see `memory.shard_graph`; its "ring" of `shards` and `degree` by default.
      A deletion trains on degree^2 shards whatever the graph (`memory.deletion_cost`).
    shards, degree: of the default.
    where: regular expressions of the kernels that have an adapter. The paper's adapters attend to an encoder's tokens;
      for a classifier, `"head/kernel"` is the nearest.
    rank: of the factors.
    recipe: of one adapter. Adam 0.005, 15 epochs, batches of 64 by default.
    aggregate: "mean" or "vote".

  Raises:
    ValueError: a graph that is not square or lets a shard not read itself, `forget` before `learn`, a second `learn`
      without `task.seen`, or a request without a retain set.

  Example:
    >>> safe(shards=4, degree=2).name
    'safe'
  """
  reads = shard_graph(shards, "ring", degree) if reads is None else np.asarray(reads, bool)
  if reads.ndim != 2 or reads.shape[0] != reads.shape[1] or not reads.diagonal().all():
    raise ValueError(f"reads must be bool[n, n] with a true diagonal, got shape {reads.shape}")
  check.one_of("aggregate", aggregate, ("vote", "mean"))
  nodes = len(reads)
  recipe = recipe or Recipe(optax.adam(0.005), epochs=15, batch_size=64)
  adapter = reparam.lora(rank, where=where)

  def bind(fn: ModelFn) -> Verbs:
    small = adapter.bind(fn)
    step, members = trainer(small, recipe), ensemble(small, nodes, aggregate, weights="trained")

    def init(model, key):
      starts = [adapter.init(fold_name(key, f"node{i}"), model.params)[0] for i in range(nodes)]
      params = jax.tree.map(lambda *x: jnp.stack(x), *starts)
      model_state = jax.tree.map(lambda x: jnp.broadcast_to(x, (nodes, *x.shape)), model.state)
      slots = {"start": {"params": params, "state": model_state}, "trained": jnp.zeros(nodes)}
      state = UnlearnState.create(params, rng=key, model_state=model_state, slots=slots)
      return state, {"base": jax.tree.map(jnp.array, model.params)}

    def train_affected(state, refs, changed, source, run):
      shard = assign_shards(source.ids, state.rng, nodes, 1)[0]
      hit = assign_shards(as_examples(changed).ids, state.rng, nodes, 1)[0]
      everyone = {"params": state.params, "state": state.model_state}
      trained = np.array(state.slots["trained"])
      for i in affected(reads, hit).tolist():
        rows = source.where(reads[i, shard])
        member = jax.tree.map(lambda x: x[i], state.slots["start"])  # noqa: B023
        if len(rows):
          name = f"node{i}"
          member = train_member(step, member, rows, recipe, fold_name(state.rng, "train", name), run, name, refs)
        everyone, trained[i] = put(everyone, (i,), member), float(len(rows) > 0)
      slots = {**state.slots, "trained": jnp.asarray(trained)}
      return state.replace(params=everyone["params"], model_state=everyone["state"], slots=slots)

    def learn(state, refs, task, run):
      if np.asarray(state.slots["trained"]).any() and task.seen is None:
        raise ValueError(f"safe learns again only with task.seen, which task {task.name!r} has not; uj.serve gives it")
      return train_affected(state, refs, task.train, everything(task), run), refs

    def forget(state, refs, request, run):
      if not np.asarray(state.slots["trained"]).any():
        raise ValueError("safe must learn before it can forget: give uj.learn's result to uj.forget(start=)")
      return train_affected(state, refs, request.forget, by_id(need_retain("safe", request)), run), refs

    def served(state, refs):
      return Model(state.params, state.model_state, {"base": refs["base"], "trained": state.slots["trained"]}, members)

    return Verbs(init, served, learn=learn, forget=forget)

  promise = Guarantee("exact", statement="the adapters are what training on the rest alone gives, bit by bit")
  return Method("safe", bind, promise)
