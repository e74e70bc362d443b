"""Replay: what is mixed, what is kept, and the evaluation inside the loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, ToyFn, toy_data, toy_xent

from unlearnjax import memory, methods
from unlearnjax.core import Run, Task, UnlearnState, bound, descend, joined, learn, replay, role_batch, sequence, watch

DATA, KEY = toy_data(40), jax.random.key(0)


def state_of(step, **kwargs):
  model = TOY.init(jax.random.key(0))
  return step.init(UnlearnState.create(model.params, rng=jax.random.key(0), **kwargs))


def test_a_joined_role_is_one_mean_over_all_valid_rows():
  step = joined(descend({"both": toy_xent()}, optax.sgd(1.0)), "both", ("current", "memory"))
  now, past = role_batch(DATA[:6]), role_batch(DATA[6:16])
  past["valid"] = jnp.arange(10) < 2
  now["extra"] = jnp.zeros(6)
  moved, _ = step.update(state_of(step), {"current": now, "memory": past}, {})
  whole = descend({"both": toy_xent()}, optax.sgd(1.0))
  want, _ = whole.update(state_of(whole), {"both": role_batch(DATA[:8])}, {})
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved.params, want.params)


def test_several_reads_of_one_buffer_are_independent():
  kept, seen = memory.reservoir(30), {}

  def spy(role):
    def objective(params, batch, view):
      seen[role] = batch["id"]
      return jnp.sum(params["head"]["bias"]) * 0.0, {}

    return objective

  names = ("memory", "again")
  step = replay(descend({n: spy(n) for n in names}, optax.sgd(0.1)), kept, role=names, size=5, add_from="current")
  state = state_of(step)
  buffer = kept.add(kept.init(role_batch(DATA[:1])), role_batch(DATA[:20]), jax.random.key(0))
  state, _ = step.update(state.replace(memory={"memory": buffer}), {"current": role_batch(DATA[20:24])}, {})
  assert set(np.asarray(seen["memory"]).tolist()) != set(np.asarray(seen["again"]).tolist())
  assert int(state.memory["memory"]["added"]) == 24
  with pytest.raises(ValueError, match=r"the state has no memory 'memory'; found \[\]"):
    step.update(state_of(step), {"current": role_batch(DATA[:4])}, {})


def test_er_learns_from_the_batch_and_the_buffer_alone():
  """The first step, with an empty buffer, is a step of sequential fine-tuning; the buffer holds what has come."""
  task = [Task("a", 0, DATA[:8], None, (0, 1, 2))]
  settings = dict(tx=optax.sgd(0.1), batch_size=8, epochs=1)
  run = lambda method: next(learn(method, TOY.init(jax.random.key(0)), task, key=jax.random.key(3)))
  a, b = run(methods.er(capacity=20, **settings)), run(methods.sequential(**settings))
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.state.params, b.state.params)
  rows = a.state.memory["memory"]["rows"]
  assert sorted(np.asarray(rows["id"])[np.asarray(rows["valid"])].tolist()) == DATA.ids[:8].tolist()
  with pytest.raises(ValueError, match="capacity must be at least replay_size=10, got 5"):
    methods.er(capacity=5)


def test_the_curve_is_logged_in_the_loop_and_changes_nothing():
  fn, histories = ToyFn(), {}
  parts = [DATA.where(DATA.column("y") == c) for c in (0, 1)]
  tasks = [Task(str(c), c, part, part, (c,)) for c, part in enumerate(parts)]
  make = lambda every: methods.sequential(tx=optax.sgd(0.1), batch_size=4, epochs=3, every=every)
  model, key = fn.init(jax.random.key(0)), jax.random.key(1)
  method = make(2)
  state, refs = bound(method, fn).init(model, key)
  sample = jax.tree.map(lambda *x: jnp.stack(x), *(role_batch(p[:10]) for p in parts))
  run = Run(on_history=lambda label, history: histories.update({label: history}))
  watched = list(learn(method, model, tasks, key=key, run=run, start=(state, {**refs, "watch": sample})))
  plain = list(learn(make(None), model, tasks, key=key))
  jax.tree.map(np.testing.assert_array_equal, watched[1].state.params, plain[1].state.params)
  assert sorted(histories) == ["sequential_learn/0_0/fit", "sequential_learn/1_1/fit"]
  curve = histories["sequential_learn/1_1/fit"]["watch/1"]
  measured = np.isfinite(curve)
  start = len(histories["sequential_learn/0_0/fit"]["loss"])
  assert [(start + i + 1) % 2 == 0 for i in range(len(curve))] == measured.tolist()
  assert 0 <= curve[measured].min() and curve[measured][-1] == 1.0


def test_watch_says_what_it_needs():
  step = sequence(descend({"a": toy_xent()}, optax.sgd(0.1)), watch(TOY, 1))
  with pytest.raises(ValueError, match=r"watch reads refs\['watch'\]"):
    step.update(state_of(step), {"a": role_batch(DATA[:2])}, {})
  with pytest.raises(ValueError, match="every must be > 0"):
    watch(TOY, 0)


def test_a_task_with_classes_that_the_model_does_not_have():
  with pytest.raises(ValueError, match=r"has the classes \(3,\), but the model has 3 outputs"):
    next(
      learn(methods.sequential(), TOY.init(jax.random.key(0)), [Task("a", 0, DATA, None, (3,))], key=jax.random.key(0))
    )
