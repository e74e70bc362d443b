"""SISA: sharded, isolated, sliced, aggregated training. Bourtoule et al., S&P 2021, arXiv:1912.03817 (baseline B12)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax.core import (
  Guarantee,
  Method,
  Model,
  ModelFn,
  UnlearnState,
  Verbs,
  as_examples,
  check,
  fit,
  need_retain,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, ArrayTree
from unlearnjax.memory import assign_shards, slice_epochs
from unlearnjax.methods.parts import by_id, everything
from unlearnjax.models.ensembles import ensemble, stack_models
from unlearnjax.training import Recipe, trainer


def sisa(*, shards: int = 5, slices: int = 5, recipe: Recipe | None = None, aggregate: str = "vote") -> Method:
  """Trains an ensemble on disjoint shards, slice by slice, and retrains only what has seen the forget set. Exact.

  `learn` puts every example into one of S shards and one of R slices by a hash of its id and the key. Member s starts
  fresh and trains e_l epochs on slices 1..l of shard s, l = 1..R, with a new optimizer at each slice; the weights
  before each slice are kept in `state.slots`. `forget` goes back to the first slice of each affected shard that holds
  an example to forget and trains on from there. Keys and orders belong to (shard, slice), so the result is, bit by bit,
  what `learn` makes of the retain set alone. Another `learn` with `task.seen` goes back in the same way, to the first
  slice of each shard that gets new examples: whatever came and went, the state is what one `learn` of the rest makes.

  The model served is the ensemble. Its weights are not those that `init` is given: only their architecture is used. The
  retain set must be what was learned less all that was ever forgotten. `uj.learn` comes first, and `uj.forget(start=)`
  goes on from its result.

  Args:
    shards: S >= 1 members; a deletion retrains 1/S of the work at one slice.
    slices: R >= 1; memory holds S R models.
    recipe: how a member is trained; its epochs E become e_l = floor(2 E l / (R + 1)) - floor(2 E (l - 1) / (R + 1)),
      as much work as E epochs. SGD 0.05 with momentum 0.9, 20 epochs, batches of 64 by default.
    aggregate: "vote", or "mean" for the mean probability.

  Raises:
    ValueError: shards or slices < 1, `forget` before `learn`, a second `learn` without `task.seen`, or a request
      without a retain set.

  Example:
    >>> sisa(shards=3, slices=2).name
    'sisa'
  """
  check.positive("shards", shards)
  check.positive("slices", slices)
  check.one_of("aggregate", aggregate, ("vote", "mean"))
  recipe = recipe or Recipe(optax.sgd(0.05, momentum=0.9), epochs=20, batch_size=64)
  epochs = slice_epochs(recipe.epochs, slices)

  def bind(fn: ModelFn) -> Verbs:
    step, members = trainer(fn, recipe), ensemble(fn, shards, aggregate)

    def init(model, key):
      fresh = stack_models([fn.init(jax.random.fold_in(key, s)) for s in range(shards)], members)
      start = {"params": fresh.params, "state": fresh.state}
      before = jax.tree.map(lambda x: jnp.repeat(x[:, None], slices, axis=1), start)
      slots = {"before_slice": before, "learned": jnp.array(False)}
      return UnlearnState.create(fresh.params, rng=key, model_state=fresh.state, slots=slots), EMPTY

    def train_shard(state, shard, first, source, parts, run):
      """Member `shard`, from slice `first` on, on rows `source` whose slices are `parts`."""
      kept = state.slots["before_slice"]
      member = _at(kept, (shard, first))
      for part in range(first, slices):
        kept = _put(kept, (shard, part), member)
        rows = source.where(parts <= part)
        if not len(rows) or not epochs[part]:
          continue
        key = fold_name(state.rng, f"shard{shard}", f"slice{part}")
        inner = UnlearnState.create(member["params"], rng=key, model_state=member["state"])
        plan = zip_roles(train=rows, batch_size=recipe.batch_size, epochs=epochs[part])
        inner, _ = fit(step, step.init(inner), plan, run=run, name=f"shard{shard}_slice{part}")
        member = {"params": inner.params, "state": inner.model_state}
      trained = _put({"params": state.params, "state": state.model_state}, (shard,), member)
      slots = {**state.slots, "before_slice": kept}
      return state.replace(params=trained["params"], model_state=trained["state"], slots=slots)

    def train_affected(state, changed, source, run):
      """Goes back, in every shard that examples come to or leave, to the first slice that they touch."""
      changed_shard, changed_part = assign_shards(changed.ids, state.rng, shards, slices)
      shard, part = assign_shards(source.ids, state.rng, shards, slices)
      for s in np.unique(changed_shard).tolist():
        first = int(changed_part[changed_shard == s].min())
        state = train_shard(state, s, first, source.where(shard == s), part[shard == s], run)
      return state

    def learn(state, refs, task, run):
      if bool(state.slots["learned"]) and task.seen is None:
        raise ValueError(f"sisa learns again only with task.seen, which task {task.name!r} has not; uj.serve gives it")
      state = train_affected(state, as_examples(task.train), everything(task), run)
      return state.replace(slots={**state.slots, "learned": jnp.array(True)}), refs

    def forget(state, refs, request, run):
      if not bool(state.slots["learned"]):
        raise ValueError("sisa must learn before it can forget: give uj.learn's result to uj.forget(start=)")
      return train_affected(state, as_examples(request.forget), by_id(need_retain("sisa", request)), run), refs

    def served(state, refs):
      return Model(state.params, state.model_state, {}, members)

    return Verbs(init, served, learn=learn, forget=forget)

  promise = Guarantee("exact", statement="members and snapshots are what training on the rest alone gives, bit by bit")
  return Method("sisa", bind, promise)


@jax.jit
def _at(tree: ArrayTree, index: tuple[int, ...]) -> ArrayTree:
  return jax.tree.map(lambda x: x[index], tree)


@jax.jit
def _put(tree: ArrayTree, index: tuple[int, ...], values: ArrayTree) -> ArrayTree:
  return jax.tree.map(lambda x, v: x.at[index].set(v), tree, values)
