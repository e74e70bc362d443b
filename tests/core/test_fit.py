"""The loop: order of data, one compilation, donation, resume, clear failures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, plain_weighted, toy_data, toy_xent

from unlearnjax.checkpoint import CheckpointError
from unlearnjax.core import (
  Examples,
  NonFiniteError,
  Run,
  UnlearnState,
  descend,
  fit,
  fold,
  outputs,
  replicate,
  zip_roles,
)
from unlearnjax.core import switch as switch_
from unlearnjax.core.chunk import run_chunk

XENT = toy_xent()
STEP = descend({"retain": XENT}, optax.adam(1e-2), combine=plain_weighted())


def fresh(step=STEP, seed=0):
  return step.init(UnlearnState.create(TOY.init(jax.random.key(seed)).params, rng=jax.random.key(seed)))


def same(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_array_equal(_raw(x), _raw(y)), a, b)


def _raw(x):
  return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def test_matches_a_python_loop():
  data = toy_data(50)
  plan = zip_roles(retain=data, batch_size=16, epochs=2, seeds=7)
  state, history = fit(STEP, fresh(), plan)
  loop, update = fresh(), jax.jit(STEP.update)
  from unlearnjax.core.batches import gather, tables_of

  layout, tables = tables_of({"retain": data})
  for i in range(plan.steps):
    rows = {r: jnp.asarray(x[0]) for r, x in plan.indices(i, i + 1, (7,), False).items()}
    loop, info = update(loop, gather(layout, tables, rows), {})
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, loop.params)
  assert history["loss"].shape == (8,) and history["loss"][-1] == pytest.approx(float(info["loss"]), abs=1e-5)


def test_every_epoch_visits_every_example_once():
  data = toy_data(21)
  plan = zip_roles(anchor="retain", retain=data[5:], forget=data[:5], batch_size=4, epochs=3, seeds=1)
  rows = plan.indices(0, plan.steps, (1,), False)
  for epoch in range(3):
    seen = rows["retain"][4 * epoch : 4 * epoch + 4].ravel()
    assert sorted(seen[seen >= 0]) == list(range(5, 21))
  forget = rows["forget"].reshape(6, 2, 4)  # two batches a pass: the shorter role cycles at its own pace
  for each in forget:
    assert sorted(each[each >= 0]) == list(range(5))
  np.testing.assert_array_equal(plan.indices(3, 9, (1,), False)["retain"], rows["retain"][3:9])


def test_order_follows_the_seed_only():
  plan = zip_roles(retain=toy_data(30), batch_size=8, epochs=2)
  one, two, other = (plan.indices(0, 8, (s,), False)["retain"] for s in (3, 3, 4))
  np.testing.assert_array_equal(one, two)
  assert (one != other).any()


def test_phases_advance_only_their_roles():
  data = toy_data(20)
  plan = zip_roles(
    batch_size=4,
    epochs=2,
    cycle=(("max", None, ("forget",)), ("min", 3, ("retain",))),
    forget=data[:6],
    retain=data[6:],
  )
  rows = plan.indices(0, plan.steps, (0,), False)
  assert plan.steps == 10 and len(set(plan.phase.tolist())) == 2
  assert (rows["retain"][[0, 1, 5, 6]] == -1).all() and (rows["forget"][[2, 3, 4, 7, 8, 9]] == -1).all()
  seen = rows["forget"][[0, 1]]
  assert sorted(seen[seen >= 0]) == list(range(6))


def test_one_compilation_for_requests_of_all_sizes_and_remainders():
  data = toy_data(200)
  before = run_chunk._cache_size()
  for size in (150, 33, 97):
    fit(STEP, fresh(), zip_roles(retain=data[:size], batch_size=32, epochs=3))
  assert run_chunk._cache_size() == before + 1
  for size in (200, 150, 256):  # tables of their own, one capacity
    fit(STEP, fresh(), zip_roles(retain=toy_data(size), batch_size=32, epochs=1, capacity=256))
  assert run_chunk._cache_size() <= before + 2


def test_donation_leaves_the_callers_arrays_alive():
  model = TOY.init(jax.random.key(0))
  state = STEP.init(UnlearnState.create(model.params, rng=jax.random.key(0)))
  fit(STEP, state, zip_roles(retain=toy_data(), batch_size=16))
  assert np.isfinite(np.asarray(model.params["head"]["kernel"])).all()


@pytest.mark.parametrize("every", [3, 4])
def test_resume_is_bit_exact_with_other_chunks(tmp_path, every):
  plan = zip_roles(retain=toy_data(), batch_size=16, epochs=5)
  whole, history = fit(STEP, fresh(), plan)

  class Crash(Exception):
    pass

  def bomb(label, step, scalars):
    if step >= 9:
      raise Crash

  with pytest.raises(Crash):
    fit(STEP, fresh(), plan, run=Run(out=tmp_path, checkpoint_every=every, writer=bomb))
  run = Run(out=tmp_path)
  resumed, again = fit(STEP, fresh(seed=5).replace(rng=jax.random.key(0)), plan, run=run)
  same(whole, resumed)
  np.testing.assert_array_equal(history["loss"], again["loss"])
  assert run.cost.steps == plan.steps and run.cost.gradient_evaluations == 300
  done, third = fit(STEP, fresh(), plan, run=Run(out=tmp_path))
  same(whole, done)
  np.testing.assert_array_equal(history["loss"], third["loss"])


def test_saved_refs_win(tmp_path):
  def pull(params, batch, view):
    return jnp.sum((params["w"] - view.refs["goal"]["w"]) ** 2), {}

  step = descend({"retain": pull}, optax.sgd(0.1), combine=plain_weighted())
  make = lambda: step.init(UnlearnState.create({"w": jnp.zeros(2)}, rng=jax.random.key(0)))
  plan = zip_roles(retain=toy_data(8), batch_size=4, epochs=3)
  whole, _ = fit(step, make(), plan, {"goal": {"w": jnp.ones(2)}})

  def bomb(label, at, scalars):
    if at >= 2:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fit(step, make(), plan, {"goal": {"w": jnp.ones(2)}}, Run(out=tmp_path, checkpoint_every=1, writer=bomb))
  resumed, _ = fit(step, make(), plan, {"goal": {"w": jnp.full(2, 9.0)}}, Run(out=tmp_path))
  same(whole, resumed)


def test_half_written_checkpoint_is_ignored_with_a_message(tmp_path, caplog):
  plan = zip_roles(retain=toy_data(), batch_size=16, epochs=2)
  whole, _ = fit(STEP, fresh(), plan, run=Run(out=tmp_path, checkpoint_every=3, keep=5))
  directory = tmp_path / "checkpoints" / "fit"
  newest = max((p for p in directory.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
  for path in (newest / "state").rglob("*"):
    if path.is_file():
      path.write_bytes(b"")
  (directory / "99.orbax-checkpoint-tmp").mkdir()
  resumed, _ = fit(STEP, fresh(), plan, run=Run(out=tmp_path))
  same(whole, resumed)
  assert sum("ignoring the half-written checkpoint" in r.message for r in caplog.records) == 2


def test_checkpoint_of_another_model_or_plan_is_refused(tmp_path):
  plan = zip_roles(retain=toy_data(), batch_size=16, epochs=1)
  fit(STEP, fresh(), plan, run=Run(out=tmp_path))
  wide = jax.tree.map(lambda x: jnp.zeros((*x.shape, 2)) if x.ndim else x, fresh().params)
  with pytest.raises(CheckpointError, match="another model or method"):
    fit(STEP, STEP.init(UnlearnState.create(wide, rng=jax.random.key(0))), plan, run=Run(out=tmp_path))
  with pytest.raises(CheckpointError, match="other data or settings"):
    fit(STEP, fresh(), zip_roles(retain=toy_data(40), batch_size=16), run=Run(out=tmp_path))


def test_names_are_unique_within_a_run():
  run = Run()
  fit(STEP, fresh(), zip_roles(retain=toy_data(), batch_size=16), run=run)
  with pytest.raises(ValueError, match="'fit' is used twice"):
    fit(STEP, fresh(), zip_roles(retain=toy_data(), batch_size=16), run=run)


def test_non_finite_stops_and_names_the_step_and_role(tmp_path):
  x = np.zeros((12, 4), np.float32)
  x[5] = np.nan
  bad = Examples({"x": x, "y": np.zeros(12, np.int32)})
  plan = zip_roles(retain=bad, batch_size=1, epochs=1, seeds=0)
  where = int(np.flatnonzero(plan.indices(0, 12, (0,), False)["retain"].ravel() == 5)[0])
  with pytest.raises(NonFiniteError, match=rf"non-finite \['retain/loss'\] at step {where} of 12") as error:
    fit(STEP, fresh(), plan, run=Run(out=tmp_path, checkpoint_every=1, keep=12))
  assert error.value.step == where and f"that of step {where}" in str(error.value)


def test_until_stops_at_the_end_of_a_pass():
  plan = zip_roles(retain=toy_data(), batch_size=16, epochs=50)
  state, history = fit(STEP, fresh(), plan, until=lambda h: h.steps >= 8)
  assert int(state.step) == 8 == history.steps


def test_budget_stops_before_it_is_exceeded(caplog):
  run = Run(budget=100)
  state, _ = fit(STEP, fresh(), zip_roles(retain=toy_data(), batch_size=16, epochs=9), run=run)
  assert run.cost.gradient_evaluations == 92 and int(state.step) == 6
  assert "budget" in caplog.text


def test_replicas_equal_single_runs_and_survive_a_dead_one():
  step = replicate(STEP)
  keys = jax.random.split(jax.random.key(3), 3)
  params = jax.tree.map(lambda *p: jnp.stack(p), *[TOY.init(k).params for k in keys])
  start = jax.vmap(lambda p, k: UnlearnState.create(p, rng=k))(params, jax.random.clone(keys))
  poisoned = start.replace(params=jax.tree.map(lambda p: p.at[1].set(jnp.nan), start.params))
  dead = jax.tree.map(lambda x: x.copy(), poisoned)
  many, history = fit(step, step.init(start), zip_roles(retain=toy_data(), batch_size=16, epochs=3))
  for i, key in enumerate(jax.random.split(jax.random.key(3), 3)):
    one = STEP.init(UnlearnState.create(TOY.init(key).params, rng=key))
    one, _ = fit(STEP, one, zip_roles(retain=toy_data(), batch_size=16, epochs=3))
    jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-5), many.params, one.params)
  assert history["loss"].shape == (12, 3)
  _, history = fit(step, step.init(dead), zip_roles(retain=toy_data(), batch_size=16, epochs=1))
  assert np.isnan(history["loss"][:, 1]).all() and np.isfinite(history["loss"][:, [0, 2]]).all()


def test_switch_in_fit_shares_one_optimizer():
  up = descend({"forget": lambda p, b, v: (-XENT(p, b, v)[0], {})}, optax.adam(1e-2), combine=plain_weighted())
  step = switch_("phase", max=up, min=STEP)
  data = toy_data(40)
  plan = zip_roles(
    batch_size=8, epochs=3, cycle=(("max", 2, ("forget",)), ("min", 4, ("retain",))), forget=data[:16], retain=data[16:]
  )
  run = Run()
  state, history = fit(
    step, step.init(UnlearnState.create(TOY.init(jax.random.key(0)).params, rng=jax.random.key(1))), plan, run=run
  )
  assert set(state.opt_state) == {"main"} and int(state.opt_state["main"][1][0].count) == 18
  assert np.isfinite(history["forget/loss"]).sum() == 6 and np.isfinite(history["retain/loss"]).sum() == 12
  assert run.cost.gradient_evaluations == 3 * (16 + 32)


def test_feed_resumes_where_it_was_consumed(tmp_path):
  from unlearnjax.core import Feed, role_batch

  data = toy_data(40)

  class Stream:
    def __init__(self):
      self.at = 0

    def __iter__(self):
      return self

    def __next__(self):
      rows = (np.arange(8) + 8 * self.at) % 40
      self.at += 1
      return {"retain": jax.tree.map(np.asarray, role_batch(data, rows))}

    def get_state(self):
      return {"next": self.at}

    def set_state(self, state):
      self.at = state["next"]

  feed = Feed(Stream, steps=21)
  whole, history = fit(STEP, fresh(), feed)

  def bomb(label, step, scalars):
    if step >= 12:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fit(STEP, fresh(), feed, run=Run(out=tmp_path, checkpoint_every=5, writer=bomb))
  resumed, again = fit(STEP, fresh(), feed, run=Run(out=tmp_path))
  same(whole, resumed)
  np.testing.assert_array_equal(history["loss"], again["loss"])


def test_bf16_state_is_stable():
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), TOY.init(jax.random.key(0)).params)
  step = descend({"retain": XENT}, optax.adam(1e-2), combine=plain_weighted(retain=jnp.float32(0.5)))
  state, _ = fit(
    step, step.init(UnlearnState.create(params, rng=jax.random.key(0))), zip_roles(retain=toy_data(), batch_size=16)
  )
  assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}


def test_outputs_and_fold_follow_the_source_order():
  data = toy_data(70).where(np.arange(70) % 3 == 1)
  model = TOY.init(jax.random.key(0))
  found = outputs(model, data, Run(batch_size=16), capture=("head:in",))
  direct = model({"x": jnp.asarray(data.column("x"))}, capture=("head:in",))
  np.testing.assert_allclose(found["logits"], direct.logits, atol=1e-6)
  np.testing.assert_allclose(found["head:in"], direct.hidden["head:in"], atol=1e-6)
  from unlearnjax.core import Statistic

  total = Statistic(
    lambda m: jnp.zeros(4), lambda acc, m, b, rng: acc + jnp.where(b["valid"][:, None], b["inputs"]["x"], 0).sum(0)
  )
  for size in (1, 7, 64):
    np.testing.assert_allclose(fold(total, model, data, batch_size=size), data.column("x").sum(0), rtol=1e-5)


def test_once_survives(tmp_path):
  calls = []

  def compute():
    calls.append(1)
    return {"a": {"b": jnp.arange(3.0)}, "mask": jnp.array([True, False])}

  first = Run(out=tmp_path).scope("m").once("fisher", compute)
  again = Run(out=tmp_path).scope("m").once("fisher", compute)
  same(first, again)
  assert len(calls) == 1
