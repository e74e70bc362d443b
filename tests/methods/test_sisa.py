"""SISA: deletion is exact, and only what has seen the data is trained again."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, ToyFn
from toy_trained import accuracy, class_request, data, equal, random_request, trained

from unlearnjax.core import ForgetRequest, Run, Task, forget, learn, outputs
from unlearnjax.memory.shards import assign_shards, slice_epochs
from unlearnjax.methods.classification import sisa as module
from unlearnjax.methods.classification.sisa import sisa
from unlearnjax.training import Recipe

KEY = jax.random.key(4)
RECIPE = Recipe(optax.adam(0.03), epochs=10, batch_size=16)
METHOD = sisa(shards=3, slices=3, recipe=RECIPE)


def learned(source, method=METHOD, run=None, model=None):
  (result,) = learn(method, model or trained(), [Task("all", 0, source)], key=KEY, run=run)
  return result


@functools.cache
def original():
  return learned(data())


def deletion(ids) -> ForgetRequest:
  gone = np.isin(data().ids, ids)
  return ForgetRequest(data().where(gone), data().where(~gone), np.asarray(ids))


@pytest.mark.parametrize("request_of", [class_request, random_request, lambda: deletion([17])])
def test_deletion_equals_training_without_the_data_bit_by_bit(request_of):
  request = request_of()
  removed = forget(METHOD, trained(), request, key=KEY, start=(original().state, original().refs))
  fresh = learned(request.retain)
  assert equal(removed.state.params, fresh.state.params)
  assert equal(removed.state.slots, fresh.state.slots)


def test_one_deletion_after_another():
  first, second = deletion([3]), deletion([3, 40])
  state, refs = original().state, original().refs
  for request in (first, second._replace(forget=data().select([40]))):
    result = forget(METHOD, trained(), request, key=KEY, start=(state, refs))
    state, refs = result.state, result.refs
  assert equal(state.params, learned(second.retain).state.params)


def test_what_is_learned_later_leaves_the_state_of_one_learning():
  late = data().where(np.arange(len(data())) % 4 == 1)
  early = data().without(late)
  (first,) = learn(METHOD, trained(), [Task("early", 0, early)], key=KEY)
  (both,) = learn(METHOD, trained(), [Task("late", 1, late, seen=early)], key=KEY, start=(first.state, first.refs))
  assert equal((both.state.params, both.state.slots), (original().state.params, original().state.slots))


def test_other_shards_and_earlier_slices_stay():
  shard, part = assign_shards(data().ids, KEY, 3, 3)
  one = int(np.flatnonzero(part == 2)[0])
  run = Run()
  before, request = original().state, deletion([one])
  after = forget(METHOD, trained(), request, key=KEY, run=run, start=(before, original().refs)).state
  others = [s for s in range(3) if s != shard[one]]
  pick = lambda state, members: jax.tree.map(lambda x: x[np.array(members)], state.params)
  assert equal(pick(before, others), pick(after, others))
  assert not equal(pick(before, [shard[one]]), pick(after, [shard[one]]))
  assert equal(before.slots, after.slots)  # only the last slice is trained again
  rows = np.sum(shard == shard[one]) - 1
  assert run.cost.gradient_evaluations == slice_epochs(10, 3)[2] * rows


def test_a_single_deletion_retrains_a_shard_in_expectation():
  shards, n = 4, len(data())
  method = sisa(shards=shards, slices=1, recipe=RECIPE._replace(epochs=2))
  start = learned(data(), method)
  assert start.cost["gradient_evaluations"] == 2 * n
  spent = []
  for one in range(0, n, 30):
    result = forget(method, trained(), deletion([one]), key=KEY, start=(start.state, start.refs))
    spent.append(result.cost["gradient_evaluations"])
  sizes = np.bincount(assign_shards(data().ids, KEY, shards, 1)[0], minlength=shards)
  mine = sizes[assign_shards(np.arange(0, n, 30), KEY, shards, 1)[0]]
  np.testing.assert_array_equal(spent, 2 * (mine - 1))
  expected = np.mean(sizes**2) * shards / n / n  # of a uniformly drawn request
  assert 1 / shards <= expected < 1.25 / shards


def test_the_class_goes_and_the_others_stay():
  request = class_request()
  result = forget(METHOD, trained(), request, key=KEY, start=(original().state, original().refs))
  assert accuracy(original().model, data()) > 0.9
  assert accuracy(result.model, request.forget) < 0.1 and accuracy(result.model, request.retain) > 0.9


def test_the_served_model_is_the_vote_of_the_members():
  state, source = original().state, data()[:20]
  member = lambda s: TOY(jax.tree.map(lambda x: x[s], state.params), {"x": source.column("x")}).logits.argmax(-1)
  votes = np.stack([np.eye(3)[np.asarray(member(s))] for s in range(3)]).sum(0)
  served = outputs(original().model, source)["logits"]
  np.testing.assert_allclose(np.exp(served), np.maximum(votes / 3, 1e-6), rtol=1e-5)


def test_an_interrupted_deletion_goes_on_from_its_checkpoints(tmp_path, monkeypatch):
  request, start = random_request(), (original().state, original().refs)
  whole = forget(METHOD, trained(), request, key=KEY, start=start)
  calls, real = [], module.fit

  def crashing(*args, **kwargs):
    calls.append(kwargs["name"])
    if len(calls) == 3:
      raise KeyboardInterrupt
    return real(*args, **kwargs)

  monkeypatch.setattr(module, "fit", crashing)
  with pytest.raises(KeyboardInterrupt):
    forget(METHOD, trained(), request, key=KEY, start=start, run=Run(out=tmp_path))
  monkeypatch.setattr(module, "fit", real)
  again = forget(METHOD, trained(), request, key=KEY, start=start, run=Run(out=tmp_path))
  assert equal(whole.state.params, again.state.params) and equal(whole.state.slots, again.state.slots)
  assert len(calls) == 3
  assert again.cost["gradient_evaluations"] == whole.cost["gradient_evaluations"]  # the ledger remembers


class CountingFn(ToyFn):
  """The toy network with a state that counts the steps it was trained for."""

  def __call__(self, params, inputs, *, state=(), train=False, **kwargs):
    out = super().__call__(params, inputs, state=state, train=train, **kwargs)
    return out.replace(state={"steps": state["steps"] + train})

  def init(self, key):
    return super().init(key).replace(state={"steps": jnp.zeros(())}, fn=self)


def test_every_member_has_its_own_model_state():
  fn, recipe = CountingFn(), RECIPE._replace(epochs=2)
  result = learned(data(), sisa(shards=3, slices=1, recipe=recipe), model=fn.init(KEY))
  sizes = np.bincount(assign_shards(data().ids, KEY, 3, 1)[0])
  assert result.model.state["steps"].tolist() == (2 * np.ceil(sizes / 16)).tolist()
  assert result.state.slots["before_slice"]["state"]["steps"].tolist() == [[0.0], [0.0], [0.0]]
  assert outputs(result.model, data())["logits"].shape == (120, 3)


def test_messages():
  for options, message in (
    (dict(shards=0), "shards must be > 0"),
    (dict(slices=0), "slices must be > 0"),
    (dict(aggregate="median"), "aggregate must be one of vote, mean"),
  ):
    with pytest.raises(ValueError, match=message):
      sisa(**options)
  with pytest.raises(ValueError, match="sisa must learn before it can forget"):
    forget(METHOD, trained(), class_request(), key=KEY)
  with pytest.raises(ValueError, match="sisa needs a retain set"):
    start = (original().state, original().refs)
    forget(METHOD, trained(), class_request()._replace(retain=None), key=KEY, start=start)
  with pytest.raises(ValueError, match="sisa learns again only with task.seen"):
    tasks = [Task("a", 0, data()), Task("b", 1, data())]
    list(learn(sisa(shards=1, slices=1, recipe=RECIPE._replace(epochs=1)), trained(), tasks, key=KEY))
