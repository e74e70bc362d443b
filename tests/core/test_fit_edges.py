"""Corners of the loop: shared buffers, early stops that resume, clocks, feeds that end, values that are not numbers."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, plain_weighted, toy_data, toy_xent

from unlearnjax.checkpoint import load_tree, save_tree
from unlearnjax.core import (
  Feed,
  History,
  Model,
  Run,
  Statistic,
  Transform,
  UnlearnState,
  descend,
  fit,
  fold,
  replicate,
  role_batch,
  zip_roles,
)
from unlearnjax.lock import Busy, Lock

XENT = toy_xent()
DATA = toy_data(60)
STEP = descend({"retain": XENT}, optax.adam(1e-2), combine=plain_weighted())
COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
  lambda event, seconds, **kwargs: COMPILED.append(f"{kwargs.get('fun_name')}") if "backend_compile" in event else None
)


class Crash(Exception):
  pass


def bomb(at):
  def writer(label, step, scalars):
    if step >= at:
      raise Crash

  return writer


def fresh(step=STEP, params=None, **kwargs):
  params = TOY.init(jax.random.key(0)).params if params is None else params
  return step.init(UnlearnState.create(params, rng=jax.random.key(0), **kwargs))


def equal(a, b):
  raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
  jax.tree.map(lambda x, y: np.testing.assert_array_equal(raw(x), raw(y)), a, b)


def counter():
  """Adds one to every slot a step."""

  def update(state, batch, refs):
    slots = jax.tree.map(lambda x: x + 1, state.slots)
    return state.replace(step=state.step + 1, slots=slots), {"loss": jnp.zeros(()), "ok": jnp.array(True)}

  return Transform(lambda state: state, update)


def test_states_may_share_arrays_with_themselves_their_refs_and_the_caller():
  once, mine, host = jnp.ones(3), jnp.ones(3), np.ones(64, np.float32)
  step, plan = counter(), zip_roles(retain=DATA, batch_size=20)
  state = UnlearnState.create({"w": once}, rng=jax.random.key(0), slots={"mine": mine, "host": host})
  state = state.replace(slots={**state.slots, "a": state.params["w"], "b": state.params["w"]})
  refs = {"base": state.params}
  state, _ = fit(step, state, plan, refs)
  np.testing.assert_array_equal(state.slots["a"], [4, 4, 4])
  np.testing.assert_array_equal(state.slots["b"], [4, 4, 4])
  for kept in (state.params["w"], refs["base"]["w"], once, mine, host):
    np.testing.assert_array_equal(kept, np.ones_like(kept))


def test_references_may_be_the_parameters_of_the_state():
  def near(params, batch, view):
    gap = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, view.refs["base"])
    return sum(jax.tree.leaves(gap)), {}

  step = descend({"retain": XENT, "near": near}, optax.sgd(0.1), combine=plain_weighted())
  shared, apart = fresh(step), fresh(step)
  base = jax.tree.map(jnp.copy, apart.params)
  plan = zip_roles(retain=DATA, batch_size=20)
  end, _ = fit(step, apart, plan, {"base": base})
  also, _ = fit(step, shared, plan, {"base": shared.params})
  equal(end.params, also.params)


def test_a_statistic_may_start_as_the_parameters():
  model = Model({"w": jnp.zeros(3)})
  add = Statistic(
    lambda m: {"a": m.params["w"], "b": m.params["w"]}, lambda acc, m, b, r: {k: v + 1 for k, v in acc.items()}
  )
  found = fold(add, model, DATA, batch_size=30)
  np.testing.assert_array_equal(found["b"], [2, 2, 2])
  np.testing.assert_array_equal(model.params["w"], [0, 0, 0])


def test_an_early_stop_is_the_same_after_a_crash(tmp_path):
  plan = zip_roles(retain=DATA, batch_size=8, epochs=9)
  until = lambda history: history.steps >= 24
  whole, history = fit(STEP, fresh(), plan, until=until)
  assert int(whole.step) == 24
  with pytest.raises(Crash):
    fit(STEP, fresh(), plan, run=Run(out=tmp_path, checkpoint_every=5, writer=bomb(13)), until=until)
  for _ in range(2):  # the second time there is nothing left to do
    run = Run(out=tmp_path, checkpoint_every=5)
    state, again = fit(STEP, fresh(), plan, run=run, until=until)
    equal(state, whole)
    np.testing.assert_array_equal(history["loss"], again["loss"])
    assert run.cost.steps == 24


def test_the_budget_is_the_same_after_a_crash(tmp_path):
  plan = zip_roles(retain=DATA, batch_size=8, epochs=9)
  whole, _ = fit(STEP, fresh(), plan, run=Run(budget=100))
  with pytest.raises(Crash):
    fit(STEP, fresh(), plan, run=Run(out=tmp_path, checkpoint_every=5, writer=bomb(10), budget=100))
  run = Run(out=tmp_path, checkpoint_every=5, budget=100)
  state, _ = fit(STEP, fresh(), plan, run=run)
  equal(state, whole)
  assert run.cost.gradient_evaluations == 100


def test_resuming_does_not_compile_again(tmp_path):
  plan = zip_roles(retain=DATA, batch_size=8, epochs=5)
  refs = {"unused": jnp.ones(3)}
  with pytest.raises(Crash):
    fit(STEP, fresh(), plan, refs, Run(out=tmp_path, checkpoint_every=4, writer=bomb(10)))
  COMPILED.clear()
  state, _ = fit(STEP, fresh(), plan, refs, Run(out=tmp_path, checkpoint_every=4))
  state, _ = fit(STEP, state, plan, refs)  # restored arrays, fresh tables
  assert int(state.step) == 80 and "jit(run_chunk)" not in COMPILED


@pytest.mark.parametrize("seconds", [0.0, 1e6])
def test_checkpoints_by_the_clock(tmp_path, seconds):
  run = Run(out=tmp_path, checkpoint_seconds=seconds, keep=9)
  fit(STEP, fresh(), zip_roles(retain=DATA, batch_size=8, epochs=5), run=run)
  found = sorted(int(p.name) for p in (tmp_path / "checkpoints" / "fit").iterdir() if p.name.isdigit())
  assert found[-1] == 40 and (len(found) > 1) == (seconds == 0)


class Counted:
  """Eight rows a batch; ends after `length` batches."""

  def __init__(self, length):
    self.at, self.length = 0, length

  def __iter__(self):
    return self

  def __next__(self):
    if self.at == self.length:
      raise StopIteration
    self.at += 1
    return {"retain": jax.tree.map(np.asarray, role_batch(DATA, np.arange(8) + self.at))}

  def get_state(self):
    return bytes([self.at])

  def set_state(self, state):
    (self.at,) = state


def test_a_feed_that_ends_early_says_so():
  with pytest.raises(ValueError, match="fit: the feed ended after 11 of 20 steps"):
    fit(STEP, fresh(), Feed(lambda: Counted(11), steps=20))


def test_a_feed_whose_state_is_bytes_resumes(tmp_path):
  feed = Feed(lambda: Counted(99), steps=30)
  whole, _ = fit(STEP, fresh(), feed)
  with pytest.raises(Crash):
    fit(STEP, fresh(), feed, run=Run(out=tmp_path, checkpoint_every=7, writer=bomb(20)))
  state, history = fit(STEP, fresh(), feed, run=Run(out=tmp_path))
  equal(state, whole)
  assert history.steps == 30


def test_a_plan_of_no_steps_changes_nothing(tmp_path):
  state, history = fit(STEP, fresh(), zip_roles(retain=DATA, batch_size=8, epochs=0), run=Run(out=tmp_path))
  equal(state, fresh())
  assert history.steps == 0


def test_replicas_need_a_seed_and_a_source_each_or_one_for_all():
  step = replicate(STEP)
  keys = jax.random.split(jax.random.key(0), 3)
  params = jax.tree.map(lambda *p: jnp.stack(p), *[TOY.init(k).params for k in keys])
  make = lambda: step.init(jax.vmap(lambda p, k: UnlearnState.create(p, rng=k))(params, keys))
  with pytest.raises(ValueError, match="the plan has 2 seeds, but the state has 3 replicas"):
    fit(step, make(), zip_roles(retain=DATA, batch_size=8, seeds=(1, 2)))
  with pytest.raises(ValueError, match="role 'retain' has 2 sources, but the state has 3 replicas"):
    fit(step, make(), zip_roles(retain=[DATA[:30], DATA[30:]], batch_size=8))
  shards = [DATA[:20], DATA[20:40], DATA[40:]]
  many, _ = fit(step, make(), zip_roles(retain=shards, batch_size=8, epochs=2, seeds=np.arange(3)))
  one = STEP.init(UnlearnState.create(jax.tree.map(lambda p: p[1], params), rng=keys[1]))
  one, _ = fit(STEP, one, zip_roles(retain=shards[1], batch_size=8, epochs=2, seeds=1))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, atol=1e-5), many.params, one.params)


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_histories_survive_json_bit_by_bit(shape):
  values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  odd = values.copy()
  odd[0], odd[1], odd[2] = np.nan, np.inf, -np.inf
  history = History({"loss": values, "odd": odd})
  text = json.dumps(history.to_json(), allow_nan=False)
  again = History.from_json(json.loads(text))
  for name in ("loss", "odd"):
    np.testing.assert_array_equal(history[name], again[name])
    assert again[name].dtype == np.float32
  again.extend({"loss": values})
  assert again.steps == 8
  with pytest.raises(ValueError, match=r"no 'acc'; it has \['loss', 'odd'\]"):
    again.mean("acc")


def test_once_returns_the_same_kind_of_value_every_time(tmp_path):
  make = lambda: {"gamma": 0.1, "host": np.arange(3.0), "key": jax.random.key(3), "half": jnp.ones(2, jnp.bfloat16)}
  kind = lambda x: (x.dtype, getattr(x, "weak_type", False))
  found = [Run().once("v", make), Run(out=tmp_path).once("v", make), Run(out=tmp_path).once("v", lambda: 1 / 0)]
  for value in found[1:]:
    equal(value, found[0])
    assert jax.tree.map(kind, value) == jax.tree.map(kind, found[0])


def test_saved_trees_are_dicts_with_string_keys(tmp_path):
  with pytest.raises(TypeError, match="string keys, got 1 at '/a'"):
    save_tree(tmp_path / "t", {"a": {1: jnp.ones(2)}})
  with pytest.raises(TypeError, match="made of dicts and arrays, got tuple at '/a'"):
    save_tree(tmp_path / "t", {"a": (jnp.ones(2),)})
  assert load_tree(tmp_path / "t") is None
  save_tree(tmp_path / "t", {"a": jnp.ones(2)}, {"n": 1})
  save_tree(tmp_path / "t", {"a": jnp.zeros(3)}, {"n": 2})
  value, meta = load_tree(tmp_path / "t")
  assert value["a"].shape == (3,) and meta == {"n": 2}


def test_a_full_disk_is_named_and_what_was_saved_goes_on(tmp_path, monkeypatch):
  plan = zip_roles(retain=DATA, batch_size=20, epochs=2)
  run = lambda: Run(out=tmp_path, checkpoint_every=2)
  orbax = pytest.importorskip("orbax.checkpoint")
  save = orbax.CheckpointManager.save

  def full(self, step, **kwargs):
    if step == 4:
      raise ValueError("RESOURCE_EXHAUSTED: No space left on device")  # in the words of tensorstore
    return save(self, step, **kwargs)

  monkeypatch.setattr(orbax.CheckpointManager, "save", full)
  with pytest.raises(OSError, match="No space left on device for checkpoint 4 in .*/fit"):
    fit(STEP, fresh(), plan, run=run())
  monkeypatch.undo()
  goes_on = run()
  state, history = fit(STEP, fresh(), plan, run=goes_on)
  equal(state, fit(STEP, fresh(), plan)[0])
  assert goes_on.cost.steps == len(history["loss"]) == 6


def test_two_processes_on_one_directory(tmp_path):
  plan, run = zip_roles(retain=DATA, batch_size=20, epochs=2), lambda: Run(out=tmp_path)
  other = Lock(tmp_path / "checkpoints" / "fit")
  try:
    with pytest.raises(Busy, match="fit is being written by process .*: one writer at a time"):
      fit(STEP, fresh(), plan, run=run())
  finally:
    other.close()
  first = fit(STEP, fresh(), plan, run=run())[0]
  equal(first, fit(STEP, fresh(), plan, run=run())[0])
