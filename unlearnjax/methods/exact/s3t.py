"""S3T: sequence-aware sharded sliced training. Chowdhury et al., ICLR 2025, arXiv:2406.16257 (paper 9)."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import reparam, updates
from unlearnjax.core import Guarantee, Method, Model, ModelFn, UnlearnState, Verbs, as_examples, check, need_retain
from unlearnjax.core.tree import fold_name
from unlearnjax.memory import assign_shards, cyclic_orders
from unlearnjax.methods.exact.members import at, put, train_member
from unlearnjax.methods.parts import by_id, everything
from unlearnjax.models.ensembles import ensemble
from unlearnjax.reparam.bound import named, nested
from unlearnjax.training import Recipe, trainer


def s3t(
  *,
  groups: tuple[str, ...],
  head: str = "head/kernel",
  shards: int = 3,
  orders: int | np.ndarray = 2,
  rank: int = 4,
  recipe: Recipe | None = None,
  cumulative: bool = True,
  aggregate: str = "mean",
) -> Method:
  """Adapters trained slice by slice in several orders, so that a deletion only switches some of them off. Exact.

  A shard has as many slices as there are groups of layers. Along an order pi, stage t trains the LoRA factors of
  group t and of the head on the slices pi_1..pi_t, over the frozen model and the earlier stages; every stage is kept
  whole, with its head, so that each prefix can be served. A deletion from slice j cuts every order of its shard
  before j and erases what came after, at no training at all. Each shard serves its longest prefix that lives; shards
  without one have no say. When none is left, everything is trained again on the retain set.

  The state that a deletion leaves is, bit by bit, that of training without the slices that were hit: nothing is known
  of the forgotten examples, and nothing of their slices' other examples until the next training. The frozen model
  must not have seen what may be forgotten.

  Args:
    groups: regular expressions of the kernels of each group, the last layers first; one slice each.
    head: of the kernels that every stage trains.
    shards: m >= 1 members.
    orders: B from 1 to the number L of slices, for as many rotations, or int[B, L] (`memory.matching_orders`). The mean
      number of deletions before a new training is m L H_{m B} (`memory.expected_deletions`).
    rank: of the factors; also the scale, so that W = W0 + a b.
    recipe: of one stage. Adam 0.005, 15 epochs, batches of 64 by default.
    cumulative: False trains stage t on slice pi_t alone.
    aggregate: "mean" or "vote".

  Raises:
    ValueError: no groups, orders that are none, groups that match no kernel, `forget` before `learn`, a second `learn`
      without `task.seen`, or no retain set where all is to be trained again.

  Example:
    >>> s3t(groups=("blocks/1/.*kernel", "blocks/0/.*kernel")).name
    's3t'
  """
  slices = len(groups)
  check.positive("number of groups", slices)
  check.positive("shards", shards)
  check.one_of("aggregate", aggregate, ("vote", "mean"))
  table = cyclic_orders(slices, orders) if np.ndim(orders) == 0 else np.asarray(orders)
  if table.ndim != 2 or (np.sort(table, 1) != np.arange(slices)).any():
    raise ValueError(f"orders must hold permutations of 0..{slices - 1}, one a row, got {table.tolist()}")
  recipe = recipe or Recipe(optax.adam(0.005), epochs=15, batch_size=64)
  recipe = recipe._replace(tx=optax.chain(recipe.tx, updates.mask_by("stage")))
  adapter = reparam.lora(rank, where=(*groups, head))

  def bind(fn: ModelFn) -> Verbs:
    small = adapter.bind(fn)
    step, members = trainer(small, recipe), ensemble(small, shards, aggregate, weights="living")

    def init(model, key):
      starts = [
        [adapter.init(fold_name(key, f"shard{s}", f"order{b}"), model.params)[0] for b in range(len(table))]
        for s in range(shards)
      ]
      start = jax.tree.map(lambda *x: jnp.stack(x).reshape(shards, len(table), *x[0].shape), *sum(starts, []))
      start = {
        "params": start,
        "state": jax.tree.map(lambda x: jnp.broadcast_to(x, (shards, len(table), *x.shape)), model.state),
      }
      slots = {
        "start": start,
        "prefix": jax.tree.map(lambda x: jnp.repeat(x[:, :, None], slices, 2), start),
        "living": jnp.zeros((shards, len(table)), jnp.int32),
        "learned": jnp.array(False),
      }
      first = jax.tree.map(lambda x: jnp.array(x[:, 0]), start)
      state = UnlearnState.create(first["params"], rng=key, model_state=first["state"], slots=slots)
      return state, {"base": jax.tree.map(jnp.array, model.params)}

    def train_all(state, refs, source, run):
      shard, part = assign_shards(source.ids, state.rng, shards, slices)
      prefix = jax.tree.map(lambda x: jnp.repeat(x[:, :, None], slices, 2), state.slots["start"])
      living = np.zeros((shards, len(table)), np.int32)
      masks = [_stage(groups[t], head, at(state.slots["start"], (0, 0))["params"]) for t in range(slices)]
      for s, b in np.ndindex(shards, len(table)):
        member = at(state.slots["start"], (s, b))
        for t in range(slices):
          mine = shard == s
          if not (mine & (part == table[b, t])).any():
            break
          rows = source.where(mine & np.isin(part, table[b, 0 if cumulative else t : t + 1]))
          name = f"shard{s}_order{b}_stage{t}"
          held = {**refs, "stage": masks[t]}
          member = train_member(step, member, rows, recipe, fold_name(state.rng, name), run, name, held)
          prefix, living[s, b] = put(prefix, (s, b, t), member), t + 1
      return serving(state.replace(slots={**state.slots, "prefix": prefix, "learned": jnp.array(True)}), living)

    def serving(state, living):
      """The longest living prefix of every shard; what is not alive is erased."""
      start, prefix = state.slots["start"], state.slots["prefix"]
      dead = jnp.arange(slices) >= jnp.asarray(living)[:, :, None]
      blank = lambda p, s: jnp.where(dead.reshape(*dead.shape, *[1] * (p.ndim - 3)), s[:, :, None], p)
      prefix = jax.tree.map(blank, prefix, start)
      best, rows = living.argmax(1), np.arange(shards)
      pick = lambda p: p[rows, best, np.maximum(living[rows, best] - 1, 0)]  # of a dead shard: where it started
      served = jax.tree.map(pick, prefix)
      slots = {**state.slots, "prefix": prefix, "living": jnp.asarray(living, jnp.int32)}
      return state.replace(params=served["params"], model_state=served["state"], slots=slots)

    def learn(state, refs, task, run):
      if bool(state.slots["learned"]) and task.seen is None:
        raise ValueError(f"s3t learns again only with task.seen, which task {task.name!r} has not; uj.serve gives it")
      return train_all(state, refs, everything(task), run), refs

    def forget(state, refs, request, run):
      if not bool(state.slots["learned"]):
        raise ValueError("s3t must learn before it can forget: give uj.learn's result to uj.forget(start=)")
      living = np.array(state.slots["living"])
      hit = assign_shards(as_examples(request.forget).ids, state.rng, shards, slices)
      for s, j in set(zip(*map(np.ndarray.tolist, hit))):
        living[s] = np.minimum(living[s], (table == j).argmax(1))
      if not living.any():
        return train_all(state, refs, by_id(need_retain("s3t", request)), run), refs
      return serving(state, living), refs

    def served(state, refs):
      living = (state.slots["living"].max(1) > 0).astype(jnp.float32)
      return Model(state.params, state.model_state, {"base": refs["base"], "living": living}, members)

    return Verbs(init, served, learn=learn, forget=forget)

  promise = Guarantee(
    "exact", statement="the state is what training without the slices that were hit gives, bit by bit"
  )
  return Method("s3t", bind, promise)


def _stage(group: str, head: str, phi):
  """True on the factors that a stage trains."""
  trained = lambda name: any(re.fullmatch(where, name.rpartition("/")[0]) for where in (group, head))
  return nested({name: jnp.full(x.shape, trained(name)) for name, x in named(phi).items()})
