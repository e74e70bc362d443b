"""The oracle: the same code as training, on less data, from other weights."""

from __future__ import annotations

import jax
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, class_request, data, equal, random_request, trained

from unlearnjax.core import forget
from unlearnjax.methods.classification.retrain import retrain
from unlearnjax.training import Recipe, train
from unlearnjax.training import retrain as retrain_model

RECIPE = Recipe(optax.adam(0.03), epochs=20, batch_size=32)


def test_it_is_training_on_the_retain_set_bit_for_bit():
  request, key = class_request(), jax.random.key(3)
  result = forget(retrain(recipe=RECIPE), trained(), request, key=key)
  assert equal(result.model.params, train(TOY, request.retain, RECIPE, key=key).params)
  assert equal(result.model.params, retrain_model(TOY, request, RECIPE, key=key).params)
  assert accuracy(result.model, request.forget) == 0 and accuracy(result.model, request.retain) > 0.95


def test_the_original_weights_leave_no_trace():
  key, other = jax.random.key(3), TOY.init(jax.random.key(99))
  one = forget(retrain(recipe=RECIPE), trained(), random_request(), key=key)
  two = forget(retrain(recipe=RECIPE), other, random_request(), key=key)
  assert equal(one.model.params, two.model.params)
  again = forget(retrain(recipe=RECIPE), trained(), random_request(), key=key, start=(one.state, one.refs))
  assert equal(one.model.params, again.model.params)


def test_it_never_reads_the_forget_set():
  request = random_request()
  poisoned = request.forget.replace(y=(request.forget.column("y") + 1) % 3)
  key = jax.random.key(0)
  one = forget(retrain(recipe=RECIPE), trained(), request, key=key)
  two = forget(retrain(recipe=RECIPE), trained(), request._replace(forget=poisoned), key=key)
  assert equal(one.model.params, two.model.params)


def test_requests_that_cannot_be_honoured():
  with pytest.raises(ValueError, match="retrain needs a retain set"):
    forget(retrain(recipe=RECIPE), trained(), class_request()._replace(retain=None), key=jax.random.key(0))
  overlapping = class_request()._replace(retain=data())
  with pytest.raises(ValueError, match="overlaps the retain set"):
    forget(retrain(recipe=RECIPE), trained(), overlapping, key=jax.random.key(0))
