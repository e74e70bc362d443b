"""SAFE: a deletion trains the adapters again that read the shard, and equals training without the data."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from toy_trained import data, equal

from unlearnjax.core import ForgetRequest, Run, Task, forget, learn, outputs
from unlearnjax.memory import affected, assign_shards, shard_graph
from unlearnjax.methods.exact.safe import safe
from unlearnjax.models import make
from unlearnjax.training import Recipe

KEY = jax.random.key(3)
FN = make("mlp", input_shape=(4,), num_outputs=3, widths=(8,))
MODEL = FN.init(jax.random.key(0))
READS = shard_graph(5, "random", 2, seed=1)
METHOD = safe(reads=READS, rank=3, recipe=Recipe(optax.adam(0.05), epochs=4, batch_size=16))
SHARD = assign_shards(data().ids, KEY, 5, 1)[0]


def learned(source):
  (result,) = learn(METHOD, MODEL, [Task("all", 0, source)], key=KEY)
  return result


@functools.cache
def original():
  return learned(data())


def without(ids, run=None, start=None):
  gone = np.isin(data().ids, ids)
  request = ForgetRequest(data().where(gone), data().where(~gone), ids)
  return forget(METHOD, MODEL, request, key=KEY, run=run, start=start or (original().state, original().refs))


@pytest.mark.parametrize("ids", [[7], [3, 40, 41]])
def test_a_deletion_equals_training_without_the_data_bit_by_bit(ids):
  after, fresh = without(ids), learned(data().where(~np.isin(data().ids, ids)))
  assert equal((after.state.params, after.state.slots), (fresh.state.params, fresh.state.slots))


def test_only_the_nodes_that_read_the_shard_are_trained_again():
  run = Run()
  after, shard = without([7], run), SHARD[data().ids == 7]
  hit = affected(READS, shard)
  assert 0 < len(hit) < 5
  for i in range(5):
    pick = lambda tree: jax.tree.map(lambda x: x[i], tree)  # noqa: B023
    assert equal(pick(after.state.params), pick(original().state.params)) == (i not in hit)
  rows = sum(np.sum(READS[i, SHARD]) - 1 for i in hit)
  assert run.cost.gradient_evaluations == 4 * rows


def test_learning_in_parts_leaves_the_state_of_one_learning():
  late = data().where(np.arange(len(data())) % 3 == 0)
  early = data().without(late)
  first = learned(early)
  (both,) = learn(METHOD, MODEL, [Task("late", 1, late, seen=early)], key=KEY, start=(first.state, first.refs))
  assert equal((both.state.params, both.state.slots), (original().state.params, original().state.slots))


def test_the_ensemble_learns_and_a_shard_that_is_gone_has_no_say():
  right = np.mean(outputs(original().model, data())["logits"].argmax(-1) == data().column("y"))
  assert right > 0.8
  gone = data().ids[SHARD == 2]
  reads = shard_graph(5, "isolated")
  method = safe(reads=reads, rank=3, recipe=Recipe(optax.adam(0.05), epochs=1, batch_size=16))
  (start,) = learn(method, MODEL, [Task("all", 0, data())], key=KEY)
  keep = ~np.isin(data().ids, gone)
  request = ForgetRequest(data().where(~keep), data().where(keep))
  after = forget(method, MODEL, request, key=KEY, start=(start.state, start.refs))
  assert after.state.slots["trained"].tolist() == [1, 1, 0, 1, 1]
  assert equal(
    jax.tree.map(lambda x: x[2], after.state.params), jax.tree.map(lambda x: x[2], after.state.slots["start"]["params"])
  )


def test_messages():
  with pytest.raises(ValueError, match="reads must be bool\\[n, n\\] with a true diagonal, got shape \\(2, 2\\)"):
    safe(reads=np.zeros((2, 2)))
  with pytest.raises(ValueError, match="safe must learn before it can forget"):
    forget(METHOD, MODEL, ForgetRequest(data()[:1], data()[1:]), key=KEY)
  with pytest.raises(ValueError, match="safe learns again only with task.seen"):
    list(learn(METHOD, MODEL, [Task("b", 1, data())], key=KEY, start=(original().state, original().refs)))
