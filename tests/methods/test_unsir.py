"""UNSIR: noise against the class, impair, repair."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy_trained import FORGOTTEN, accuracy, class_request, equal, random_request, trained

from unlearnjax.core import Examples, Run, forget, outputs
from unlearnjax.methods.classification import unsir as module
from unlearnjax.methods.classification.unsir import mixture, some_per_class, unsir

KEY = jax.random.key(1)
SMALL = dict(noise_size=16, batch_size=16, impair=optax.adam(0.1))


@pytest.fixture
def mixed(monkeypatch):
  """The tables that impair is trained on."""
  seen = []
  make = module.mixture
  monkeypatch.setattr(module, "mixture", lambda *args: seen.append(make(*args)) or seen[-1])
  return seen


def test_the_class_goes_and_the_others_come_back():
  request, run = class_request(), Run()
  result = forget(unsir(**SMALL), trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) < 0.3 and accuracy(result.model, request.retain) > 0.8
  noise, kept = 16, len(request.retain)
  assert run.cost.gradient_evaluations == 40 * noise + (20 * noise + kept) + kept


def test_noise_is_unlike_its_class_and_carries_its_label(mixed):
  forget(unsir(**SMALL, copies=2), trained(), class_request(), key=KEY)
  (table,) = mixed
  noise = table[: 2 * 16]
  assert set(noise.column("y")) == {FORGOTTEN} and len(table) == 32 + 80
  np.testing.assert_array_equal(noise.rows[:16], noise.rows[16:])
  assert accuracy(trained(), noise) < 0.1
  loss = lambda x: -np.mean(jax.nn.log_softmax(outputs(trained(), Examples({"x": x}))["logits"])[:, FORGOTTEN])
  drawn = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
  assert loss(noise.column("x")[:16]) > loss(drawn)


def test_every_class_has_its_own_noise_and_label(mixed):
  request = class_request()
  both = np.isin(request.retain.column("y"), [0])
  request = request._replace(
    forget=request.forget + request.retain.where(both), retain=request.retain.where(~both), classes=(0, 1)
  )
  forget(unsir(**SMALL, copies=1), trained(), request, key=KEY)
  noise = mixed[0][:32]
  assert noise.column("y").tolist() == [0] * 16 + [1] * 16
  assert np.mean(outputs(trained(), noise)["logits"].argmax(-1) == noise.column("y")) < 0.2


def test_same_key_same_bits():
  method = unsir(**SMALL, copies=1)
  one, two, other = (
    forget(method, trained(), class_request(), key=k).model.params for k in (KEY, KEY, jax.random.key(9))
  )
  assert equal(one, two) and not equal(one, other)


def test_retain_examples_are_drawn_a_class():
  source = class_request().retain
  kept = some_per_class(source, 5, KEY)
  assert np.bincount(kept.column("y")).tolist() == [5, 0, 5]
  assert len(some_per_class(source, 1000, KEY)) == len(source)
  assert mixture({1: np.zeros((2, 4))}, kept, 3).column("x").dtype == np.float32


def test_messages():
  with pytest.raises(ValueError, match="unsir forgets whole classes only"):
    forget(unsir(), trained(), random_request(), key=KEY)
  with pytest.raises(ValueError, match="unsir needs a retain set"):
    forget(unsir(), trained(), class_request()._replace(retain=None), key=KEY)
  with pytest.raises(ValueError, match="copies must be > 0"):
    unsir(copies=0)
