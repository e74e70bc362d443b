"""Gradient ascent: the forget set alone, and no silence when the loss leaves the numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, toy_xent
from toy_trained import accuracy, class_request, random_request, trained

from unlearnjax.core import NonFiniteError, View, forget, role_batch
from unlearnjax.methods.classification.gradient_ascent import gradient_ascent


def test_one_full_batch_step_goes_up_the_loss():
  request, rate = class_request(), 0.01
  method = gradient_ascent(tx=optax.sgd(rate), epochs=1, batch_size=len(request.forget))
  result = forget(method, trained(), request, key=jax.random.key(1))
  view = View(0, jax.random.key(0), {}, {}, ())
  loss = lambda p: toy_xent(TOY)(p, role_batch(request.forget), view)[0]
  expected = jax.tree.map(lambda p, g: p + rate * g, trained().params, jax.jit(jax.grad(loss))(trained().params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), result.model.params, expected)
  assert loss(result.model.params) > loss(trained().params)


def test_the_class_goes_without_a_retain_set():
  request = class_request()
  method = gradient_ascent(tx=optax.sgd(0.3), epochs=8, batch_size=16)
  result = forget(method, trained(), request._replace(retain=None), key=jax.random.key(1))
  assert accuracy(result.model, request.forget) < 0.2
  assert accuracy(result.model, request.retain) > 0.8


def test_the_defaults_hardly_move_a_small_model():
  result = forget(gradient_ascent(), trained(), random_request(), key=jax.random.key(1))
  moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), result.model.params, trained().params)
  assert 0 < max(jax.tree.leaves(moved)) < 0.05


def test_an_explosion_is_an_error():
  def explode(updates, state, params=None):
    return jax.tree.map(lambda u: -jnp.inf * u, updates), state

  tx = optax.GradientTransformation(lambda params: (), explode)
  with pytest.raises(NonFiniteError, match="gradient_ascent/fit: non-finite"):
    forget(gradient_ascent(tx=tx), trained(), class_request(), key=jax.random.key(1))
