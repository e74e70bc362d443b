"""DUCK: targets, limits, the two phases and their stops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import FORGOTTEN, accuracy, class_request, equal, random_request, trained

from unlearnjax import losses, objectives
from unlearnjax.core import Run, UnlearnState, bound, descend, fit, forget, outputs, zip_roles
from unlearnjax.methods.classification.duck import duck
from unlearnjax.methods.stopping import forgotten, held_out_accuracy

SMALL = dict(batch_size=16, polish_batch_size=16, tx=optax.adam(0.01), ratio=3, epochs=15)


def test_the_class_goes_and_the_others_stay():
  request = class_request()
  result = forget(duck(**SMALL), trained(), request, key=jax.random.key(1))
  assert accuracy(trained(), request.forget) > 0.9
  assert accuracy(result.model, request.forget) < 0.1
  assert accuracy(result.model, request.extra["test"]) > 0.85


def test_targets_are_wrong_classes_and_centroids_are_rows_by_label():
  request, verbs = class_request(), bound(duck(**SMALL), TOY)
  state, _ = verbs.init(trained(), jax.random.key(0))
  _, refs = verbs.forget(state, {}, request, Run())
  features = outputs(trained(), request.retain, capture=("head:in",))["head:in"]
  y = request.retain.column("y")
  np.testing.assert_allclose(refs["prototypes"][0], features[y == 0].mean(0), atol=1e-5)
  np.testing.assert_allclose(refs["prototypes"][2], features[y == 2].mean(0), atol=1e-5)
  assert not np.any(refs["prototypes"][FORGOTTEN])  # no retained row has that label
  mine = outputs(trained(), request.forget, capture=("head:in",))["head:in"]
  present = jnp.arange(3) != FORGOTTEN
  target = losses.nearest_wrong_prototype(mine, refs["prototypes"], request.forget.column("y"), present)
  assert set(np.asarray(target).tolist()) <= {0, 2}


def test_without_forget_weight_it_is_fine_tuning_at_temperature():
  request, tx = class_request(), optax.adam(5e-3)
  method = duck(forget_weight=0.0, retain_weight=1.0, ratio=1, epochs=2, batch_size=16, tx=tx, stop=0.0)
  result = forget(method, trained(), request, key=jax.random.key(1))
  step = descend({"retain": objectives.cross_entropy(TOY, temperature=2.0)}, tx)
  state = step.init(UnlearnState.create(trained().params, rng=jax.random.key(1)))
  plan = zip_roles(anchor="forget", batch_size=16, epochs=4, forget=request.forget, retain=request.retain)
  state, _ = fit(step, state, plan)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), result.model.params, state.params)


def test_no_epochs_and_no_polish_change_nothing():
  result = forget(duck(epochs=0, polish_epochs=0), trained(), class_request(), key=jax.random.key(1))
  assert equal(result.model.params, trained().params)


def test_single_examples_are_forgotten_to_held_out_accuracy():
  request = random_request()
  goal = held_out_accuracy(trained(), request, Run())
  assert goal == accuracy(trained(), request.extra["test"])
  result = forget(duck(**{**SMALL, "epochs": 5, "polish_epochs": 0}), trained(), request, key=jax.random.key(1))
  longest = duck(**{**SMALL, "epochs": 5, "polish_epochs": 0, "stop": 0.0})
  assert result.cost["steps"] < forget(longest, trained(), request, key=jax.random.key(1)).cost["steps"]
  assert accuracy(result.model, request.extra["test"]) > goal - 0.15


def test_stops_look_at_whole_passes():
  plan = zip_roles(forget=class_request().forget, batch_size=20)
  until = forgotten(plan, 0.5, after=2)
  assert plan.steps_per_epoch == 2
  assert not until({"forget/accuracy": np.array([0.0, 0.0])})
  assert not until({"forget/accuracy": np.array([0.0, 0.0, 0.0, 1.0])})
  assert until({"forget/accuracy": np.array([1.0, 1.0, 0.2, 0.6])})
  assert forgotten(plan, None) is None
  assert held_out_accuracy(trained(), class_request()._replace(extra={}), Run()) is None


def test_errors():
  with pytest.raises(ValueError, match="forget_weight must be >= 0, got -1"):
    duck(forget_weight=-1)
  with pytest.raises(ValueError, match="duck needs a retain set"):
    forget(duck(), trained(), class_request()._replace(retain=None), key=jax.random.key(0))
