"""SCRUB: the game of two passes, its standing start, and fine-tuning as its limit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax import losses, updates
from unlearnjax.core import Run, UnlearnState, forget, name_id, role_batch
from unlearnjax.methods.classification.fine_tune import fine_tune
from unlearnjax.methods.classification.scrub import game, rounds, scrub
from unlearnjax.methods.parts import teacher

KEY = jax.random.key(1)


def test_max_passes_come_first_then_the_retain_set_alone():
  request = class_request()  # 40 and 80 rows: one pass is 3 and 3 batches
  plan = rounds(request.forget, request.retain, 2, 4, {"retain": 32, "forget": 16})
  leave, follow = name_id("max"), name_id("min")
  assert plan.phase.tolist() == 2 * (3 * [leave] + 3 * [follow]) + 2 * 3 * [follow]
  rows = plan.indices(0, plan.steps, (0,), False)
  assert (rows["forget"][plan.phase == follow] == -1).all() and (rows["retain"][plan.phase == leave] == -1).all()
  for i, source in (("forget", request.forget), ("retain", request.retain)):
    first = rows[i][plan.phase == (leave if i == "forget" else follow)][:3].ravel()
    assert sorted(first[first >= 0]) == sorted(source.rows)


def test_the_first_pass_of_a_deterministic_network_stands_still_without_a_nudge():
  step = game(TOY, optax.sgd(0.1), alpha=0.5, gamma=1.0, temperature=2.0)
  refs = {"teacher": teacher(trained())}
  batch = {"phase": name_id("max"), "forget": role_batch(class_request().forget)}
  batch["retain"] = {**role_batch(class_request().retain), "valid": jnp.zeros(80, bool)}
  start = step.init(UnlearnState.create(trained().params, rng=KEY))
  update = jax.jit(step.update)
  still, info = update(start, batch, refs)
  assert equal(still.params, start.params) and float(info["forget/loss"]) == 0
  params = jax.tree.map(lambda p: p * 1.05, trained().params)
  moved, info = update(start.replace(params=params), batch, refs)
  kl = losses.distill_kl(*(TOY(p, batch["forget"]["inputs"]).logits for p in (params, trained().params)), 2.0)
  assert float(info["forget/loss"]) == pytest.approx(-float(kl.mean()), rel=1e-4)
  assert not equal(moved.params, params)


def test_the_steps_are_those_of_the_formula():
  alpha, gamma, t, rate = 0.3, 0.7, 2.0, 0.1
  step = game(TOY, optax.sgd(rate), alpha=alpha, gamma=gamma, temperature=t)
  batches = {r: role_batch(getattr(class_request(), r)) for r in ("forget", "retain")}
  params = jax.tree.map(lambda p: p * 1.1, trained().params)
  logits = lambda p, r: TOY(p, batches[r]["inputs"]).logits
  kl = lambda p, r: losses.distill_kl(logits(p, r), logits(trained().params, r), t).mean()
  xent = lambda p: losses.cross_entropy(logits(p, "retain"), batches["retain"]["y"]).mean()
  goals = {"max": lambda p: -kl(p, "forget"), "min": lambda p: gamma * xent(p) + alpha * kl(p, "retain")}
  update, start = jax.jit(step.update), step.init(UnlearnState.create(params, rng=KEY))
  for phase, goal in goals.items():
    after, _ = update(start, {"phase": name_id(phase), **batches}, {"teacher": teacher(trained())})
    expected = jax.tree.map(lambda p, g: p - rate * g, params, jax.jit(jax.grad(goal))(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.params, expected)


def test_both_passes_share_one_optimizer():
  step = game(TOY, None, alpha=0.5, gamma=1.0, temperature=2.0)
  state = step.init(UnlearnState.create(trained().params, rng=KEY))
  assert set(state.opt_state) == {"main"}


def test_without_max_passes_and_divergence_it_is_fine_tuning():
  settings = dict(tx=optax.sgd(0.1, momentum=0.9), epochs=3, batch_size=16)
  scrubbed = forget(scrub(alpha=0.0, max_epochs=0, perturb=0.0, **settings), trained(), class_request(), key=KEY)
  tuned = forget(fine_tune(**settings), trained(), class_request(), key=KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), scrubbed.model.params, tuned.model.params)


def test_the_class_goes_and_the_others_stay():
  request, run = class_request(), Run()
  method = scrub(tx=optax.adam(0.03), max_epochs=8, perturb=0.1, batch_size=16)
  result = forget(method, trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) < 0.1 and accuracy(result.model, request.retain) > 0.9
  assert run.cost.gradient_evaluations == 8 * 40 + 10 * 80
  assert equal(result.refs["teacher"]["params"], trained().params)


def test_a_later_request_leaves_the_model_that_it_found():
  method = scrub(tx=optax.sgd(0.05), epochs=2, max_epochs=1)
  first = forget(method, trained(), class_request(), key=KEY)
  second = forget(method, trained(), class_request(), key=KEY, start=(first.state, first.refs))
  assert equal(second.refs["teacher"]["params"], first.model.params)


def test_the_learning_rate_falls_at_epochs_five_eight_and_nine():
  factor = updates.step_decay((0.5, 0.8, 0.9))
  assert [round(float(factor(e / 10)), 4) for e in range(10)] == [1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.001]


def test_messages():
  with pytest.raises(ValueError, match="max_epochs must be from 0 to epochs = 2, got 3"):
    scrub(epochs=2)
  with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
    scrub(temperature=0)
  with pytest.raises(ValueError, match="perturb must be >= 0, got -1"):
    scrub(perturb=-1)
  with pytest.raises(ValueError, match="scrub needs a retain set"):
    forget(scrub(), trained(), class_request()._replace(retain=None), key=KEY)
