"""EU-k: fresh last layers, once, and retraining as its limit."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_norm import NORM
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax.core import forget
from unlearnjax.methods.classification.eu_k import eu_k
from unlearnjax.methods.classification.retrain import retrain
from unlearnjax.training import Recipe

KEY = jax.random.key(1)
ORDER = ("body", "head")
RECIPE = Recipe(optax.adam(0.03), epochs=20, batch_size=32)
NONE = RECIPE._replace(epochs=0)


def test_all_layers_are_retraining():
  every = forget(eu_k(recipe=RECIPE, k=2, order=ORDER), trained(), class_request(), key=KEY)
  oracle = forget(retrain(recipe=RECIPE), trained(), class_request(), key=KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), every.model.params, oracle.model.params)


def test_layers_are_drawn_anew_once():
  result = forget(eu_k(recipe=NONE, order=ORDER), trained(), class_request(), key=KEY)
  fresh = TOY.init(jax.random.split(KEY)[0])
  assert equal(result.model.params["head"], fresh.params["head"])
  assert equal(result.model.params["body"], trained().params["body"])


def test_frozen_layers_keep_their_bits_and_the_head_learns_again():
  request = class_request()
  decayed = RECIPE._replace(tx=optax.adamw(0.1, weight_decay=0.01), epochs=40)
  result = forget(eu_k(recipe=decayed, order=ORDER), trained(), request, key=KEY)
  assert equal(result.model.params["body"], trained().params["body"])
  assert accuracy(result.model, request.retain) > 0.95 and accuracy(result.model, request.forget) < 0.6


def test_batch_statistics_are_drawn_anew_with_their_layers():
  model = NORM.init(KEY)
  shifted = {n: jax.tree.map(lambda x: x + 2, model.state[n]) for n in ("norm1", "norm2")}
  model = model.replace(state={**model.state, **shifted})
  start = forget(eu_k(recipe=NONE, k=2), model, class_request(), key=KEY).model.state
  assert equal(start["norm1"], model.state["norm1"]) and equal(start["norm2"], NORM.init(KEY).state["norm2"])
  after = forget(eu_k(recipe=RECIPE._replace(epochs=1), k=2), model, class_request(), key=KEY).model.state
  assert equal(after["norm1"], model.state["norm1"]) and not equal(after["norm2"], start["norm2"])


def test_messages():
  with pytest.raises(ValueError, match="k must be > 0, got 0"):
    eu_k(recipe=RECIPE, k=0)
  with pytest.raises(ValueError, match="eu_k needs a retain set"):
    forget(eu_k(recipe=RECIPE, order=ORDER), trained(), class_request()._replace(retain=None), key=KEY)
