"""CF-k: which layers move, and that the others keep every bit."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_norm import NORM
from toy_scores import mean_loss
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax.core import forget, outputs
from unlearnjax.methods.classification.cf_k import cf_k, last_layers
from unlearnjax.methods.classification.fine_tune import fine_tune
from unlearnjax.models import leaf_paths

KEY = jax.random.key(1)
ORDER = ("body", "head")
TX = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
SMALL = dict(tx=TX, epochs=3, batch_size=16)


def test_frozen_layers_keep_their_bits_under_momentum_and_decay():
  request = class_request()
  result = forget(cf_k(order=ORDER, **SMALL), trained(), request, key=KEY)
  assert equal(result.model.params["body"], trained().params["body"])
  assert not equal(result.model.params["head"], trained().params["head"])
  features = [outputs(m, request.retain, capture=("head:in",))["head:in"] for m in (result.model, trained())]
  np.testing.assert_array_equal(*features)


def test_all_layers_are_fine_tuning():
  some = forget(cf_k(k=2, order=ORDER, **SMALL), trained(), class_request(), key=KEY)
  tuned = forget(fine_tune(**SMALL), trained(), class_request(), key=KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), some.model.params, tuned.model.params)


@pytest.mark.parametrize("k, free", [(1, {"head"}), (2, {"second", "norm2", "head"}), (3, None)])
def test_layers_with_weights_count_and_norms_follow(k, free):
  model = NORM.init(KEY)
  refs = last_layers(model, k, None)
  moving = {p.split("/")[0] for p, m in zip(leaf_paths(refs["free"]), jax.tree.leaves(refs["free"])) if m.all()}
  assert moving == (free or {"first", "norm1", "second", "norm2", "head"})
  stays = {p for p, m in zip(leaf_paths(refs["free_state"]), jax.tree.leaves(refs["free_state"])) if not m}
  expected = {1: ("norm1", "norm2"), 2: ("norm1",), 3: ()}[k]
  assert stays == {f"{n}/{s}" for n in expected for s in ("mean", "var")}


def test_batch_statistics_of_frozen_layers_stay():
  model = NORM.init(KEY)
  result = forget(cf_k(k=2, epochs=2, batch_size=16), model, class_request(), key=KEY)
  assert equal(result.model.state["norm1"], model.state["norm1"])
  assert not equal(result.model.state["norm2"], model.state["norm2"])
  for name in ("first", "norm1"):
    assert equal(result.model.params[name], model.params[name])
  assert not equal(result.model.params["norm2"], model.params["norm2"])


def test_the_head_alone_forgets_a_little():
  request = class_request()
  method = cf_k(order=ORDER, tx=optax.sgd(0.3, momentum=0.9), epochs=20, batch_size=16)
  result = forget(method, trained(), request, key=KEY)
  assert mean_loss(result.model, request.forget) > 3 * mean_loss(trained(), request.forget)
  assert accuracy(result.model, request.retain) > 0.95


def test_messages():
  with pytest.raises(ValueError, match="k must be > 0, got 0"):
    cf_k(k=0)
  with pytest.raises(ValueError, match="k must be from 1 to 2, the number of layers with weights, got 3"):
    forget(cf_k(k=3, order=ORDER), trained(), class_request(), key=KEY)
  with pytest.raises(ValueError, match="order of the layers of a ToyFn cannot be observed"):
    forget(cf_k(), trained(TOY), class_request(), key=KEY)
  with pytest.raises(ValueError, match="cf_k needs a retain set"):
    forget(cf_k(order=ORDER), trained(), class_request()._replace(retain=None), key=KEY)
