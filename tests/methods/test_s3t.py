"""S3T: a deletion switches stages off, and what is left never saw the slices that were hit."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from toy_trained import data, equal

from unlearnjax.core import ForgetRequest, Run, Task, forget, learn, outputs
from unlearnjax.memory import assign_shards, matching_orders
from unlearnjax.methods.exact.s3t import s3t
from unlearnjax.models import make
from unlearnjax.training import Recipe

KEY = jax.random.key(3)
FN = make("mlp", input_shape=(4,), num_outputs=3, widths=(8, 8))
MODEL = FN.init(jax.random.key(0))
GROUPS = ("blocks/1/.*kernel", "blocks/0/.*kernel")
METHOD_RECIPE = Recipe(optax.adam(0.05), epochs=3, batch_size=16)
METHOD = s3t(groups=GROUPS, shards=2, orders=2, rank=3, recipe=METHOD_RECIPE)
SHARD, PART = assign_shards(data().ids, KEY, 2, 2)


def learned(source, run=None):
  (result,) = learn(METHOD, MODEL, [Task("all", 0, source)], key=KEY, run=run)
  return result


@functools.cache
def original():
  return learned(data())


def without(gone, start=None, source=None, run=None):
  """Forgets the rows of a mask."""
  source = data() if source is None else source
  request = ForgetRequest(source.where(gone), source.where(~gone), source.ids[gone])
  return forget(METHOD, MODEL, request, key=KEY, run=run, start=start or (original().state, original().refs))


def one(*cells):
  """A mask of one example of each cell (shard, slice)."""
  found = np.zeros(len(data()), bool)
  for cell in cells:
    found[np.flatnonzero((SHARD == cell[0]) & (PART == cell[1]))[0]] = True
  return found


def kept(state):
  return {"params": state.params, **{k: v for k, v in state.slots.items()}}


@pytest.mark.parametrize("cell", [(0, 0), (1, 1)])
def test_a_deletion_equals_training_without_the_slice_bit_by_bit(cell):
  run = Run()
  after = without(one(cell), run=run)
  fresh = learned(data().where(~((SHARD == cell[0]) & (PART == cell[1]))))
  assert equal(kept(after.state), kept(fresh.state)) and equal(after.model.refs, fresh.model.refs)
  assert run.cost.gradient_evaluations == 0
  living = np.array([[2, 2], [2, 2]])
  living[cell[0]] = [cell[1], 1 - cell[1]]  # the rotations 01 and 10
  assert after.state.slots["living"].tolist() == living.tolist()


def test_other_shards_and_the_frozen_model_stay():
  after = without(one((0, 0)))
  pick = lambda tree: jax.tree.map(lambda x: x[1], tree)
  assert equal(pick(after.state.params), pick(original().state.params))
  assert equal(after.refs["base"], MODEL.params) and equal(original().refs["base"], MODEL.params)


def test_a_stage_moves_its_own_layers_and_the_head_alone():
  prefix, start = (original().state.slots[k]["params"] for k in ("prefix", "start"))
  pick = lambda tree, *index: jax.tree.map(lambda x: np.asarray(x[index]), tree)
  stages = pick(start, 0, 0), pick(prefix, 0, 0, 0), pick(prefix, 0, 0, 1)
  for (before, after), moved in zip(zip(stages, stages[1:]), ("1", "0")):
    for block in "01":
      assert equal(before["blocks"][block], after["blocks"][block]) == (block != moved)
    assert not equal(before["head"], after["head"])


def test_a_shard_without_a_living_prefix_has_no_say_until_none_is_left():
  first = without(one((0, 0), (0, 1)))
  assert first.state.slots["living"].tolist() == [[0, 0], [2, 2]]
  alone = jax.tree.map(lambda x: x[1], first.state.params)
  said = first.model.fn.fn(alone, {"x": data()[:9].column("x")}, refs=first.model.refs).logits
  served = outputs(first.model, data()[:9])["logits"]
  np.testing.assert_allclose(served, jax.nn.log_softmax(said), atol=1e-5)
  left = data().where(~one((0, 0), (0, 1)))
  gone = one((1, 0), (1, 1))[~one((0, 0), (0, 1))]
  second = without(gone, (first.state, first.refs), left)
  fresh = learned(left.where(~gone))
  assert equal(kept(second.state), kept(fresh.state)) and second.cost["gradient_evaluations"] > 0


def test_longer_prefixes_know_more():
  right = lambda model: np.mean(outputs(model, data())["logits"].argmax(-1) == data().column("y"))
  short = without(one((0, 0), (1, 0)))
  assert right(original().model) > 0.7 and right(original().model) >= right(short.model) - 0.05
  assert right(short.model) > right(MODEL) + 0.2


def test_stages_read_all_slices_before_them_or_one_alone():
  epochs, sizes = 3, np.array([[np.sum((SHARD == s) & (PART == j)) for j in range(2)] for s in range(2)])
  alone = s3t(groups=GROUPS, shards=2, orders=2, rank=3, recipe=METHOD_RECIPE, cumulative=False)
  (result,) = learn(alone, MODEL, [Task("all", 0, data())], key=KEY)
  assert result.cost["gradient_evaluations"] == epochs * 2 * sizes.sum()
  assert original().cost["gradient_evaluations"] == epochs * 3 * sizes.sum()


def test_messages():
  with pytest.raises(ValueError, match="orders must be from 1 to the number of slices, 2, got 3"):
    s3t(groups=GROUPS, orders=3)
  with pytest.raises(ValueError, match="orders must hold permutations of 0..1"):
    s3t(groups=GROUPS, orders=np.array([[0, 0]]))
  with pytest.raises(ValueError, match="number of groups must be > 0"):
    s3t(groups=())
  with pytest.raises(ValueError, match="s3t must learn before it can forget"):
    forget(METHOD, MODEL, ForgetRequest(data()[:1], data()[1:]), key=KEY)
  with pytest.raises(ValueError, match="s3t learns again only with task.seen"):
    list(learn(METHOD, MODEL, [Task("b", 1, data())], key=KEY, start=(original().state, original().refs)))
  assert s3t(groups=GROUPS, orders=matching_orders(np.array([0.9, 0.1]), 2)).name == "s3t"
