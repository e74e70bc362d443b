"""Noisy-GD: bounded features, the closed form of its receipt, and weights close to those of retraining."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_trained import accuracy, class_request, equal, random_request, trained

from unlearnjax import losses
from unlearnjax.core import ForgetRequest, Task, forget, learn, outputs
from unlearnjax.methods import noisy_gd
from unlearnjax.methods.exact import head as heads
from unlearnjax.metrics import noisy_gd_rdp

KEY = jax.random.key(1)
SETTINGS = dict(learning_rate=0.9, noise=0.01, l2=0.05)


def learned(method, source):
  (result,) = learn(method, trained(), [Task("all", 0, source)], key=KEY)
  return result


def test_learns_forgets_and_keeps_the_other_layers():
  request = class_request()
  method = noisy_gd(**SETTINGS, steps=300, forget_steps=200)
  start = learned(method, request.forget + request.retain)
  assert accuracy(start.model, request.forget + request.retain) > 0.95
  result = forget(method, trained(), request, key=KEY, start=(start.state, start.refs))
  assert accuracy(result.model, request.forget) < 0.2 and accuracy(result.model, request.retain) > 0.95
  assert equal(result.state.params["body"], trained().params["body"])


def test_the_start_is_forgotten_at_the_stated_rate():
  """Two chains of one noise that differ in their data: the gap of their weights shrinks as the closed form says."""
  request = random_request()
  everything = request.forget + request.retain
  gap = {}
  for after in (20, 60):
    method = noisy_gd(**SETTINGS, steps=100, forget_steps=after)
    ends = []
    for source in (everything, request.retain + request.retain):
      start = learned(method, source)
      result = forget(method, trained(), request, key=KEY, start=(start.state, start.refs))
      ends.append(result.state.params["head"])
    gap[after] = math.sqrt(sum(float(jnp.sum((a - b) ** 2)) for a, b in zip(*map(jax.tree.leaves, ends))))
  rate = 1 - SETTINGS["learning_rate"] * SETTINGS["l2"]
  assert 0 < gap[60] <= 1.05 * rate**40 * gap[20]


def test_the_receipt_is_the_closed_form():
  request = random_request()
  method = noisy_gd(**SETTINGS, steps=50, forget_steps=30, order=4.0)
  start = learned(method, request.forget + request.retain)
  assert float(start.state.slots["divergence"]) == 0
  result = forget(method, trained(), request, key=KEY, start=(start.state, start.refs))
  want = noisy_gd_rdp(4.0, **SETTINGS, lipschitz=2.0, size=120, changed=12, forget_steps=30)
  assert float(result.state.slots["divergence"]) == pytest.approx(want, rel=1e-5)
  fewer = ForgetRequest(request.forget[:6], request.retain + request.forget[6:])
  again = forget(method, trained(), fewer, key=KEY, start=(start.state, start.refs))
  assert float(again.state.slots["divergence"]) == pytest.approx(want / 4, rel=1e-5)


def test_the_loss_is_as_lipschitz_and_as_smooth_as_the_guarantee_needs():
  rng = np.random.default_rng(0)
  radius = 1.5
  x = heads.clip_rows(jnp.asarray(5 * rng.normal(size=(200, 3)), jnp.float32), radius)
  labels = jnp.asarray(rng.integers(0, 4, 200))
  one = lambda w, x, y: losses.cross_entropy((jnp.append(x, 1.0) @ w.reshape(4, 4))[None], y[None])[0]
  w = jnp.asarray(4 * rng.normal(size=(200, 16)), jnp.float32)
  slopes = jax.vmap(jax.grad(one))(w, x, labels)
  assert float(jnp.linalg.norm(slopes, axis=1).max()) <= math.sqrt(2 * (radius**2 + 1)) + 1e-5
  curves = jax.jit(jax.vmap(jax.hessian(one)))(w[:30], x[:30], labels[:30])
  assert float(jnp.linalg.eigvalsh(curves).max()) <= (radius**2 + 1) / 2 + 1e-5


def test_the_served_model_cuts_its_features():
  method = noisy_gd(**SETTINGS, steps=5, radius=0.5)
  start = learned(method, class_request().retain)
  found = outputs(start.model, class_request().retain, capture=("head:in",))["head:in"]
  assert np.linalg.norm(found, axis=1).max() <= 0.5 + 1e-6


def test_messages():
  for options, message in (
    (dict(learning_rate=1.0), r"learning_rate must be < 1 / \(l2 \+ beta\) = 0.9901"),
    (dict(noise=0.0), "noise must be > 0"),
    (dict(order=1.0), "order must be > 1"),
    (dict(forget_steps=0), "forget_steps must be > 0"),
  ):
    with pytest.raises(ValueError, match=message):
      noisy_gd(**options)
  with pytest.raises(ValueError, match="must learn before it can forget"):
    forget(noisy_gd(), trained(), class_request(), key=KEY)
