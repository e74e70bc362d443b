"""Fine-tuning: only the retain set, nothing at zero epochs, no momentum from one request to the next."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_scores import mean_loss
from toy_trained import accuracy, class_request, equal, random_request, trained

from unlearnjax import objectives
from unlearnjax.core import Run, UnlearnState, descend, fit, forget, zip_roles
from unlearnjax.methods.classification.fine_tune import fine_tune

TX = optax.sgd(0.1, momentum=0.9)


def test_it_is_descent_on_the_retain_set():
  request = class_request()
  result = forget(fine_tune(tx=TX, epochs=3, batch_size=16), trained(), request, key=jax.random.key(1))
  step = descend({"retain": objectives.cross_entropy(TOY)}, TX)
  state = step.init(UnlearnState.create(trained().params, rng=jax.random.key(1)))
  state, _ = fit(step, state, zip_roles(retain=request.retain, batch_size=16, epochs=3))
  assert equal(result.model.params, state.params)
  assert mean_loss(result.model, request.forget) > mean_loss(trained(), request.forget)
  assert accuracy(result.model, request.retain) > 0.95


def test_no_epochs_change_nothing():
  result = forget(fine_tune(epochs=0), trained(), class_request(), key=jax.random.key(1))
  assert equal(result.model.params, trained().params) and result.cost["gradient_evaluations"] == 0


def test_cost_is_the_retain_set_once_an_epoch():
  run = Run()
  forget(fine_tune(epochs=2), trained(), class_request(), key=jax.random.key(1), run=run)
  assert run.cost.gradient_evaluations == 2 * len(class_request().retain)


def test_a_later_request_starts_with_a_fresh_optimizer():
  method, request = fine_tune(tx=TX, epochs=1, batch_size=16), random_request()
  first = forget(method, trained(), class_request(), key=jax.random.key(1))
  momentum = jax.tree.leaves(first.state.opt_state)
  assert any(np.any(x) for x in momentum)
  cleared = first.state.replace(opt_state=jax.tree.map(lambda x: 0 * x, first.state.opt_state))
  one = forget(method, trained(), request, key=jax.random.key(1), start=(first.state, first.refs))
  two = forget(method, trained(), request, key=jax.random.key(1), start=(cleared, first.refs))
  assert equal(one.model.params, two.model.params)


def test_it_needs_a_retain_set():
  with pytest.raises(ValueError, match="fine_tune needs a retain set"):
    forget(fine_tune(), trained(), class_request()._replace(retain=None), key=jax.random.key(0))
