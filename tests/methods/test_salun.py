"""SalUn: the mask, what it freezes, and the method that it is without one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common_paths import golden
from toy import TOY
from toy_scores import confidence
from toy_trained import accuracy, class_request, equal, random_request, trained

from unlearnjax import curvature, objectives
from unlearnjax.core import Examples, Model, Outputs, fold, forget
from unlearnjax.methods.classification.random_label import random_label
from unlearnjax.methods.classification.salun import salun

KEY = jax.random.key(1)
DECAYED = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))


def test_density_one_is_random_labelling_bit_for_bit():
  settings = dict(tx=DECAYED, epochs=2, batch_size=16)
  one = forget(salun(density=1.0, **settings), trained(), random_request(), key=KEY)
  two = forget(random_label(**settings), trained(), random_request(), key=KEY)
  assert equal(one.model.params, two.model.params)
  assert not equal(one.model.params, trained().params)


@pytest.mark.parametrize("tx", [DECAYED, optax.adamw(0.1, weight_decay=0.5)], ids=["sgd", "adamw"])
def test_frozen_weights_keep_their_bits_under_momentum_and_decay(tx):
  result = forget(salun(density=0.3, tx=tx, epochs=3, batch_size=16), trained(), class_request(), key=KEY)
  before, after, masks = (
    np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(t)])
    for t in (trained().params, result.model.params, result.refs["saliency"])
  )
  np.testing.assert_array_equal(before[~masks].view(np.int32), after[~masks].view(np.int32))
  assert np.all(before[masks] != after[masks])


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_the_density_is_exact_and_the_mask_is_the_forget_gradient(density):
  request = class_request()
  refs = forget(salun(density=density, epochs=0), trained(), request, key=KEY).refs
  total = sum(m.size for m in jax.tree.leaves(refs["saliency"]))
  assert sum(int(m.sum()) for m in jax.tree.leaves(refs["saliency"])) == int(density * total)
  score = fold(curvature.saliency(objectives.cross_entropy(TOY, train=False)), trained(), request.forget)
  kept = [np.asarray(s)[np.asarray(m)] for s, m in zip(jax.tree.leaves(score), jax.tree.leaves(refs["saliency"]))]
  lost = [np.asarray(s)[~np.asarray(m)] for s, m in zip(jax.tree.leaves(score), jax.tree.leaves(refs["saliency"]))]
  assert np.concatenate(kept).min() >= np.concatenate(lost).max()


@pytest.mark.golden
@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_masks_equal_those_of_the_reference(density):
  z = golden("salun")
  names = ("0.weight", "0.bias", "2.weight", "2.bias")

  class Reference:  # a linear map, tanh, a linear map
    def __call__(self, params, inputs, *, state=(), **_):
      h = jnp.tanh(inputs["x"] @ params["0.weight"].T + params["0.bias"])
      return Outputs(h @ params["2.weight"].T + params["2.bias"], {}, state)

  model = Model({n: jnp.asarray(z[f"in_w__{n}"]) for n in names}, fn=Reference())
  data = Examples({"x": z["in_forget_x"], "y": z["in_forget_y"].astype(np.int32)})
  score = curvature.saliency(objectives.cross_entropy(model.fn, train=False), batch_size=8)
  mask = curvature.top_saliency(fold(score, model, data), density)
  for n in names:
    np.testing.assert_array_equal(np.asarray(mask[n]), z[f"out_mask{density}__{n}"].astype(bool))


def test_the_model_loses_confidence_in_what_goes():
  request = class_request()
  method = salun(density=0.5, tx=optax.sgd(0.1, momentum=0.9), epochs=20, batch_size=16)
  result = forget(method, trained(), request, key=KEY)
  assert confidence(result.model, request.forget) < 0.6
  assert accuracy(result.model, request.retain) > 0.9


def test_messages():
  for density in (0.0, 1.5):
    with pytest.raises(ValueError, match=rf"density must be in \(0, 1\], got {density}"):
      salun(density=density)
  with pytest.raises(ValueError, match="salun needs a retain set"):
    forget(salun(), trained(), class_request()._replace(retain=None), key=KEY)
