"""Branches, sequences, replay buffers and replicas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, plain_weighted, toy_data, toy_xent

from unlearnjax.core import (
  Memory,
  NonFiniteError,
  Transform,
  UnlearnState,
  averaged,
  descend,
  fit,
  name_id,
  replay,
  replicate,
  role_batch,
  sequence,
  switch,
  zip_roles,
)

XENT = toy_xent()
DATA = toy_data(30)
UP = descend({"forget": XENT}, optax.adam(1e-2), combine=plain_weighted(forget=-1.0))
DOWN = descend({"retain": XENT}, optax.adam(1e-2), combine=plain_weighted())
SWITCH = switch("phase", max=UP, min=DOWN)
BATCH = {"forget": role_batch(DATA[:6]), "retain": role_batch(DATA[6:])}


def start(step, seed=0, **kwargs):
  params = TOY.init(jax.random.key(seed)).params
  return step.init(UnlearnState.create(params, rng=jax.random.key(seed), **kwargs))


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def note(name, value, ok=True):
  """A link that changes nothing and reports one number."""

  def update(state, batch, refs):
    seen = batch.get("info", {}).get("before/value", jnp.float32(-1))
    info = {f"{name}/value": jnp.float32(value), f"{name}/seen": seen, f"{name}/step": state.step, "shared": value}
    return state.replace(step=state.step + 1), {**info, "ok": jnp.array(ok)}

  return Transform(lambda state: state, update)


def test_switch_runs_the_branch_of_the_phase_only():
  state, update = start(SWITCH), jax.jit(SWITCH.update)
  for phase, branch, idle in (("max", UP, "retain/loss"), ("min", DOWN, "forget/loss")):
    after, info = update(state, {**BATCH, "phase": name_id(phase)}, {})
    alone, info_alone = jax.jit(branch.update)(state, BATCH, {})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.params, alone.params)
    np.testing.assert_allclose(info["loss"], info_alone["loss"], rtol=1e-6)
    assert np.isnan(info[idle]) and bool(info["ok"])


def test_an_unknown_phase_is_not_ok_and_stops_the_fit():
  _, info = SWITCH.update(start(SWITCH), {**BATCH, "phase": name_id("other")}, {})
  assert not bool(info["ok"])
  plan = zip_roles(forget=DATA[:6], retain=DATA[6:], batch_size=6, cycle=(("min", 2), ("other", 1)))
  with pytest.raises(NonFiniteError, match="at step 2 of 3"):
    fit(SWITCH, start(SWITCH), plan)


def test_switch_names_the_role_of_the_phase_that_failed():
  bad = DATA.replace(x=np.where(np.arange(30)[:, None] == 20, np.nan, DATA.column("x")).astype(np.float32))
  plan = zip_roles(
    forget=bad[:6], retain=bad[6:], batch_size=6, cycle=(("max", 1), ("min", 5)), epochs=2, anchor="retain", seeds=0
  )
  rows = plan.indices(0, plan.steps, (0,), False)["retain"]
  poisoned = (rows == 20).any(1) & (plan.phase == name_id("min"))
  clean_before = (plan.phase[: np.flatnonzero(poisoned)[0]] == name_id("min")).any()
  assert poisoned.any() and clean_before
  with pytest.raises(NonFiniteError) as error:
    fit(SWITCH, start(SWITCH), plan)
  assert error.value.names == ["retain/loss"] and error.value.step == np.flatnonzero(poisoned)[0]


def test_switch_errors():
  with pytest.raises(ValueError, match=r"batch\['phase'\], but the batch holds \['forget', 'retain'\]"):
    SWITCH.update(start(SWITCH), BATCH, {})
  with pytest.raises(ValueError, match="at least one transform"):
    switch("phase")
  with pytest.raises(ValueError, match="by must be one of the reserved batch keys .* got 'task'"):
    switch("task", a=UP)


def test_sequence_is_one_step_and_later_links_read_earlier_info():
  step = sequence(note("before", 3.0), note("after", 4.0), note("last", 5.0))
  state, info = step.update(start(step), BATCH, {})
  assert int(state.step) == 1 and bool(info["ok"])
  assert float(info["before/seen"]) == -1 and float(info["after/seen"]) == 3.0
  assert [int(info[f"{k}/step"]) for k in ("before", "after", "last")] == [0, 0, 0]
  assert info["shared"] == 5.0
  for bad in range(2):
    links = [note("before", 0.0, ok=bad != 0), note("after", 0.0, ok=bad != 1)]
    assert not bool(sequence(*links).update(state, BATCH, {})[1]["ok"])
  with pytest.raises(ValueError, match="at least one transform"):
    sequence()


def test_nested_sequences_see_the_info_outside():
  step = sequence(note("before", 3.0), sequence(note("after", 4.0), note("last", 5.0)))
  state, info = step.update(start(step), BATCH, {})
  assert float(info["after/seen"]) == float(info["last/seen"]) == 3.0
  assert int(state.step) == 1


def test_a_sequence_of_one_is_its_link_and_the_key_stays():
  state = start(DOWN)
  one, _ = jax.jit(sequence(DOWN).update)(state, BATCH, {})
  alone, _ = jax.jit(DOWN.update)(state, BATCH, {})
  equal(one.params, alone.params)
  two, _ = sequence(DOWN, DOWN).update(state, BATCH, {})
  equal(jax.random.key_data(two.rng), jax.random.key_data(state.rng))
  assert int(two.opt_state["main"][1][0].count) == 2 and int(two.step) == 1


CAPACITY = 8


def ring() -> Memory:
  """The last `CAPACITY` valid rows; reads the first `size` slots."""

  def init(example):
    rows = jax.tree.map(lambda x: jnp.zeros((CAPACITY, *x.shape[1:]), x.dtype), dict(example))
    return {"rows": {**rows, "valid": jnp.zeros(CAPACITY, bool)}, "count": jnp.zeros((), jnp.int32)}

  def add(tree, batch, key):
    rank = jnp.cumsum(batch["valid"]) - 1
    place = jnp.where(batch["valid"], (tree["count"] + rank) % CAPACITY, CAPACITY)
    new = {k: batch[k] for k in tree["rows"]}
    rows = jax.tree.map(lambda m, x: m.at[place].set(x, mode="drop"), tree["rows"], new)
    return {"rows": rows, "count": tree["count"] + batch["valid"].sum()}

  return Memory(init, add, lambda tree, key, size: jax.tree.map(lambda x: x[:size], tree["rows"]))


def match_logits(params, batch, view):
  """DER++'s replay term: mean square distance to the logits that were stored."""
  distance = jnp.sum((TOY(params, batch["inputs"]).logits - batch["logits"]) ** 2, -1)
  return jnp.sum(distance * batch["valid"]) / jnp.maximum(batch["valid"].sum(), 1), {}


def with_logits(params, batch, view):
  value, aux = XENT(params, batch, view)
  return value, aux | {"logits": TOY(params, batch["inputs"]).logits}


def replaying():
  example = {**role_batch(DATA, slice(1)), "logits": jax.ShapeDtypeStruct((1, 3), jnp.float32)}
  step = descend({"current": with_logits, "memory": match_logits}, optax.sgd(0.05), combine=plain_weighted())
  store = {"logits": "current/logits"}
  return replay(step, ring(), role="memory", size=4, add_from="current", example=example, store=store)


def test_replay_reads_before_and_stores_after_the_step():
  step = replaying()
  state = start(step)
  batch = role_batch(DATA, slice(5))
  batch["valid"] = jnp.arange(5) != 2
  after, info = jax.jit(step.update)(state, {"current": batch}, {})
  assert float(info["memory/loss"]) == 0  # the buffer was empty
  kept = after.memory["memory"]["rows"]
  np.testing.assert_array_equal(kept["id"][:4], [0, 1, 3, 4])
  np.testing.assert_array_equal(kept["valid"], np.arange(8) < 4)
  logits = TOY(state.params, batch["inputs"]).logits  # those of the parameters before the step
  np.testing.assert_allclose(kept["logits"][:4], logits[jnp.array([0, 1, 3, 4])], atol=1e-6)
  later, info = jax.jit(step.update)(after, {"current": batch}, {})
  expected, _ = match_logits(after.params, jax.tree.map(lambda x: x[:4], kept), None)
  np.testing.assert_allclose(info["memory/loss"], expected, rtol=1e-5)
  assert float(expected) > 0 and int(later.memory["memory"]["count"]) == 8
  with pytest.raises(ValueError, match="already has a memory 'memory'"):
    step.init(state)


def test_replay_runs_in_fit_and_the_ring_wraps():
  step = replaying()
  state, history = fit(step, start(step), zip_roles(current=DATA, batch_size=7, epochs=4))
  assert int(state.memory["memory"]["count"]) == 120
  assert history["memory/loss"][0] == 0 and (history["memory/loss"][1:] > 0).all()
  assert np.asarray(state.memory["memory"]["rows"]["valid"]).all()


def replicas(step, count=3):
  keys = jax.random.split(jax.random.key(7), count)
  params = jax.tree.map(lambda *p: jnp.stack(p), *[TOY.init(k).params for k in keys])
  return step.init(jax.vmap(lambda p, k: UnlearnState.create(p, rng=k))(params, keys)), keys


def stacked(batch, count=3):
  return jax.tree.map(lambda x: jnp.stack([x] * count), batch)


def primitives(jaxpr) -> set[str]:
  """Names of all primitives, inner programs included."""
  found = set()
  for equation in jaxpr.eqns:
    found.add(equation.primitive.name)
    for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
      inner = getattr(value, "jaxpr", value)
      found |= primitives(inner) if hasattr(inner, "eqns") else set()
  return found


def test_replicate_keeps_the_branch_of_a_switch():
  step = replicate(SWITCH)
  state, _ = replicas(step)
  phase = jnp.int32(name_id("min"))
  traced = jax.make_jaxpr(lambda s, p: step.update(s, {**stacked(BATCH), "phase": p}, {}))(state, phase)
  assert "cond" in primitives(traced.jaxpr)
  batched = jax.vmap(SWITCH.update, in_axes=(0, 0, None))  # what must not happen: a phase a replica
  traced = jax.make_jaxpr(lambda s, p: batched(s, {**stacked(BATCH), "phase": p}, {}))(state, jnp.stack([phase] * 3))
  assert "cond" not in primitives(traced.jaxpr)


def test_replicate_equals_single_transforms():
  step = replicate(SWITCH)
  state, keys = replicas(step)
  after, info = jax.jit(step.update)(state, {**stacked(BATCH), "phase": jnp.int32(name_id("max"))}, {})
  assert info["forget/loss"].shape == (3,) and after.step.shape == (3,)
  for i, key in enumerate(keys):
    one = SWITCH.init(UnlearnState.create(TOY.init(key).params, rng=key))
    one, _ = jax.jit(SWITCH.update)(one, {**BATCH, "phase": jnp.int32(name_id("max"))}, {})
    jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-5), after.params, one.params)


def test_replicas_may_have_refs_of_their_own():
  pull = descend(
    {"goal": lambda p, b, v: (jnp.sum((p["w"] - v.refs["goal"]) ** 2), {})}, optax.sgd(0.5), combine=plain_weighted()
  )
  step = replicate(pull, refs_axis=0)
  keys = jax.random.split(jax.random.key(0), 2)
  state = step.init(jax.vmap(lambda k: UnlearnState.create({"w": jnp.zeros(())}, rng=k))(keys))
  after, _ = step.update(state, {}, {"goal": jnp.array([1.0, 2.0])})
  np.testing.assert_allclose(after.params["w"], [1.0, 2.0])


@pytest.mark.parametrize("decay,every", [(0.0, 1), (1.0, 1), (0.9, 3)])
def test_an_average_follows_its_closed_form_and_is_never_read(decay, every):
  step = averaged(DOWN, decay=decay, every=every)
  state, alone = start(step), start(DOWN)
  first = slow = alone.params
  update, plain = jax.jit(step.update), jax.jit(DOWN.update)
  for number in range(1, 8):
    state, _ = update(state, BATCH, {})
    alone, _ = plain(alone, BATCH, {})
    if number % every == 0:
      slow = jax.tree.map(lambda s, f: decay * s + (1 - decay) * f, slow, alone.params)
  equal(state.params, alone.params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.slots["slow"]["params"], slow)
  if decay in (0.0, 1.0):
    equal(state.slots["slow"]["params"], alone.params if decay == 0 else first)


def test_the_average_of_weights_that_stand_still():
  still = averaged(Transform(lambda s: s, lambda s, b, r: (s.replace(step=s.step + 1), {})), decay=0.99, every=10)
  state = still.init(UnlearnState.create({"w": jnp.ones(())}, rng=jax.random.key(0)))
  state = state.replace(params={"w": jnp.full((), 3.0)})
  state = jax.jit(lambda s: jax.lax.fori_loop(0, 1000, lambda i, s: still.update(s, {}, {})[0], s))(state)
  assert float(state.slots["slow"]["params"]["w"]) == pytest.approx(1 + 2 * 0.633968, rel=1e-5)


def test_an_average_of_half_precision_weights_moves_by_less_than_their_rounding():
  still = averaged(Transform(lambda s: s, lambda s, b, r: (s.replace(step=s.step + 1), {})), decay=0.999)
  state = still.init(UnlearnState.create({"w": jnp.ones((), jnp.bfloat16)}, rng=jax.random.key(0)))
  state = state.replace(params={"w": jnp.full((), 3.0, jnp.bfloat16)})
  state = jax.jit(lambda s: jax.lax.fori_loop(0, 1000, lambda i, s: still.update(s, {}, {})[0], s))(state)
  assert float(state.slots["slow"]["params"]["w"]) == pytest.approx(1 + 2 * (1 - 0.999**1000), rel=1e-4)
