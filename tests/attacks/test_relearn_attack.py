"""Relearn time: what is only hidden comes back at once, what was never there takes as long as learning it."""

from __future__ import annotations

import math

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_scores import mean_loss
from toy_trained import class_request, data, equal, trained

from unlearnjax import attacks, losses, metrics
from unlearnjax.core import Run
from unlearnjax.training import Recipe, retrain

KEY = jax.random.key(5)
RECIPE = Recipe(optax.adam(0.03), epochs=20, batch_size=32)
FAST = optax.adam(0.01)


@pytest.fixture(scope="module")
def oracle():
  return retrain(TOY, class_request(), RECIPE, key=jax.random.key(9))


def target() -> float:
  return 1.05 * mean_loss(trained(), class_request().forget)


def steps(model, **kwargs) -> float:
  return attacks.relearn(
    model, data(), measured=class_request().forget, target_loss=target(), tx=FAST, batch_size=16, key=KEY, **kwargs
  )


def test_the_original_needs_no_step_and_the_retrained_model_many(oracle):
  needed = steps(oracle, max_epochs=40)
  assert steps(trained()) == 0 and 5 < needed < math.inf
  assert metrics.anamnesis_index(needed, needed) == 1 and metrics.anamnesis_index(steps(trained()), needed) == 0


def test_what_is_only_hidden_comes_back_sooner(oracle):
  head = {**trained().params["head"], "bias": trained().params["head"]["bias"] - np.float32([0, 8, 0])}
  hidden = trained().replace(params={**trained().params, "head": head})
  assert mean_loss(hidden, class_request().forget) > 1
  assert 0 < metrics.anamnesis_index(steps(hidden, max_epochs=40), steps(oracle, max_epochs=40)) < 0.9


def test_the_steps_are_those_of_plain_training(oracle):
  """The loss after k steps is below the target for k = the answer, and above it for k - 1."""
  forget, goal = class_request().forget, 1.0
  kwargs = {"target_loss": goal, "tx": FAST, "batch_size": len(forget), "key": KEY, "max_epochs": 60}
  needed = attacks.relearn(oracle, forget, **kwargs)
  params, state = oracle.params, FAST.init(oracle.params)
  loss = lambda p: losses.cross_entropy(TOY(p, {"x": forget.column("x")}).logits, forget.column("y")).mean()
  curve = [float(loss(params))]
  for _ in range(int(needed)):
    updates, state = FAST.update(jax.grad(loss)(params), state)
    params = optax.apply_updates(params, updates)
    curve.append(float(loss(params)))
  assert curve[-1] <= goal < curve[-2]


def test_the_model_is_not_changed(oracle):
  before = jax.tree.map(np.array, oracle.params)
  steps(oracle, max_epochs=1)
  assert equal(before, oracle.params)


def test_a_model_that_does_not_get_there(oracle):
  assert steps(oracle, max_epochs=1) == math.inf


def test_one_compilation_serves_all_models(oracle):
  steps(oracle, max_epochs=1)
  run = Run()
  other = retrain(TOY, class_request(), RECIPE, key=jax.random.key(10))
  steps(other, max_epochs=1, run=run)
  assert run.cost.steps > 0 and run.cost.compile_seconds == 0


def test_a_killed_measurement_resumes(oracle, tmp_path):
  whole = steps(oracle, max_epochs=40)
  run = lambda: Run(out=tmp_path, checkpoint_every=3)
  assert steps(oracle, max_epochs=40, run=run()) == whole == steps(oracle, max_epochs=40, run=run())


def test_regression():
  rng = np.random.default_rng(0)
  rows = data()
  source = rows.replace(y=(rows.column("x") @ rng.normal(size=4)).astype(np.float32))
  squared = lambda outputs, targets: (outputs[:, 0] - targets) ** 2
  kwargs = {"loss": squared, "tx": FAST, "batch_size": 16, "key": KEY, "max_epochs": 30}
  assert 1 < attacks.relearn(trained(), source, target_loss=0.5, **kwargs) < math.inf


def test_bad_arguments(oracle):
  with pytest.raises(ValueError, match="target_loss must be finite, got nan"):
    attacks.relearn(oracle, data(), target_loss=math.nan, key=KEY)
  with pytest.raises(ValueError, match="max_epochs must be > 0, got 0"):
    attacks.relearn(oracle, data(), target_loss=0.1, key=KEY, max_epochs=0)
  with pytest.raises(ValueError, match="batch_size"):
    attacks.relearn(oracle, data(), target_loss=0.1, key=KEY, batch_size=0)
  with pytest.raises(ValueError, match="empty"):
    attacks.relearn(oracle, data()[:0], target_loss=0.1, key=KEY)


def test_language_models_relearn_by_their_own_objective():
  from toy_asked import told

  from unlearnjax import methods, objectives
  from unlearnjax.core import forget

  model, request = told()
  unlearned = forget(methods.npo(tx=optax.adam(6e-3), batch_size=6), model, request, key=KEY).model
  how = dict(objective=objectives.nll, tx=optax.adam(6e-3), batch_size=7, key=KEY, target_loss=0.2, max_epochs=30)
  needed = [attacks.relearn(m, request.forget, **how) for m in (model, unlearned)]
  assert needed[0] == 0 < needed[1] < math.inf
