"""NegGrad: the pull towards the original weights."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from toy import TOY, toy_xent
from toy_trained import accuracy, class_request, trained

from unlearnjax.auditing import weight_distance
from unlearnjax.core import View, forget, role_batch
from unlearnjax.methods.classification.neg_grad import neg_grad
from unlearnjax.methods.classification.neg_grad_plus import neg_grad_plus

KEY = jax.random.key(1)
SMALL = dict(tx=optax.sgd(0.1), epochs=4, batch_size=16)


def test_two_full_batch_steps_are_the_formula():
  request, alpha, decay, rate = class_request(), 0.7, 0.4, 0.1
  retain, gone = request.retain[:20], request.forget[:20]
  method = neg_grad(alpha=alpha, decay=decay, tx=optax.sgd(rate), epochs=2, batch_size=20)
  result = forget(method, trained(), request._replace(retain=retain, forget=gone), key=KEY)
  xent, view, start = toy_xent(TOY), View(0, KEY, {}, {}, ()), trained().params

  def loss(p):
    pull = sum(((a - b) ** 2).sum() for a, b in zip(jax.tree.leaves(p), jax.tree.leaves(start)))
    r, f = (xent(p, role_batch(source), view)[0] for source in (retain, gone))
    return alpha * (r + decay / 2 * pull) - (1 - alpha) * f

  params, slope = start, jax.jit(jax.grad(loss))
  for _ in range(2):
    params = jax.tree.map(lambda p, g: p - rate * g, params, slope(params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), result.model.params, params)


def test_without_the_pull_it_is_neg_grad_plus():
  held = forget(neg_grad(alpha=0.8, decay=0.0, **SMALL), trained(), class_request(), key=KEY)
  plus = forget(neg_grad_plus(alpha=0.8, **SMALL), trained(), class_request(), key=KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), held.model.params, plus.model.params)


def test_the_class_goes_and_the_pull_holds():
  request = class_request()
  tx = optax.sgd(0.1, momentum=0.9)
  free = forget(neg_grad(alpha=0.7, decay=0.0, tx=tx, batch_size=16), trained(), request, key=KEY)
  held = forget(neg_grad(alpha=0.7, decay=0.01, tx=tx, batch_size=16), trained(), request, key=KEY)
  assert weight_distance(held.model.params, trained().params) < weight_distance(free.model.params, trained().params)
  assert accuracy(held.model, request.forget) < 0.1 and accuracy(held.model, request.retain) > 0.9


def test_a_later_request_is_held_near_the_weights_it_found():
  method = neg_grad(alpha=1.0, decay=0.1, tx=optax.sgd(0.0), epochs=1)
  first = forget(neg_grad(alpha=0.8, **SMALL), trained(), class_request(), key=KEY)
  second = forget(method, trained(), class_request(), key=KEY, start=(first.state, first.refs))
  np.testing.assert_array_equal(second.refs["original"]["params"]["head"]["bias"], first.model.params["head"]["bias"])


def test_messages():
  with pytest.raises(ValueError, match="decay must be >= 0, got -1"):
    neg_grad(decay=-1)
  with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got -0.1"):
    neg_grad(alpha=-0.1)
  with pytest.raises(ValueError, match="neg_grad needs a retain set"):
    forget(neg_grad(), trained(), class_request()._replace(retain=None), key=KEY)
