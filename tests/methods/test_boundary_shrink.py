"""Boundary Shrink: fixed adversarial labels, and the enhanced variants."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import FORGOTTEN, accuracy, class_request, equal, trained

from unlearnjax import objectives
from unlearnjax.core import Model, Run, UnlearnState, descend, fit, forget, outputs, zip_roles
from unlearnjax.methods.arguments import clip_range
from unlearnjax.methods.classification.boundary_shrink import adversarial_labels, boundary_shrink

KEY = jax.random.key(1)
SMALL = dict(eps=2.0, value_range=None, tx=optax.sgd(0.05, momentum=0.9), batch_size=16)


def labels_of(model, source, **attack):
  return adversarial_labels(model.replace(fn=objectives.adversary(model.fn, **attack)), source)


def test_without_a_step_the_label_is_the_prediction():
  source = class_request().forget
  found = labels_of(trained(), source, eps=0.0, low=None, high=None)
  np.testing.assert_array_equal(found, outputs(trained(), source)["logits"].argmax(-1))


def test_labels_are_those_of_one_signed_gradient_step_inside_the_range():
  source, model = class_request().forget, trained()
  x, y = jnp.asarray(source.column("x")), source.column("y")
  loss = lambda x: -jax.nn.log_softmax(TOY(model.params, {"x": x}).logits)[jnp.arange(len(y)), y].sum()
  moved = jnp.clip(x + 1.5 * jnp.sign(jax.grad(loss)(x)), -1.0, 2.0)
  want = TOY(model.params, {"x": moved}).logits.argmax(-1)
  np.testing.assert_array_equal(labels_of(model, source, eps=1.5, low=-1.0, high=2.0), want)
  assert np.mean(np.asarray(want) != y) > 0.5


def test_the_class_goes_and_the_others_stay():
  request, run = class_request()._replace(retain=None), Run()
  result = forget(boundary_shrink(**SMALL, epochs=5), trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) < 0.2
  assert accuracy(result.model, class_request().retain) > 0.9
  size = len(request.forget)
  assert (run.cost.gradient_evaluations, run.cost.forward_evaluations) == (6 * size, size)


def test_the_attacker_never_moves():
  """Training on the labels of the original model, computed beforehand, is the method."""
  request, tx = class_request(), SMALL["tx"]
  found = forget(boundary_shrink(**SMALL, epochs=3), trained(), request, key=KEY).model.params
  step = descend({"forget": objectives.cross_entropy(TOY, target="nearest")}, tx)
  source = request.forget.replace(nearest=labels_of(trained(), request.forget, eps=2.0, low=None, high=None))
  state = step.init(UnlearnState.create(trained().params, rng=KEY))
  state, _ = fit(step, state, zip_roles(forget=source, batch_size=16, epochs=3))
  assert equal(found, state.params)


def test_enhanced_variants_reduce_to_the_plain_one():
  """The curvature weight goes to 0; the labels of both ways to compute them agree."""
  plain = forget(boundary_shrink(**SMALL, epochs=2), trained(), class_request(), key=KEY)
  tiny = forget(boundary_shrink(**SMALL, epochs=2, curvature=1e-12), trained(), class_request(), key=KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain.model.params, tiny.model.params)
  assert equal(tiny.refs["original"]["params"], trained().params) and not plain.refs


def test_enhanced_variants_forget():
  """Margin weights are small where the attack succeeds by far, as in the toy: they slow forgetting down."""
  request = class_request()
  loss = lambda model: -np.mean(jax.nn.log_softmax(outputs(model, request.forget)["logits"])[:, FORGOTTEN])
  curved = forget(boundary_shrink(**SMALL, epochs=10, curvature=0.7), trained(), request, key=KEY)
  assert accuracy(curved.model, request.forget) < 0.2 and accuracy(curved.model, request.retain) > 0.9
  weighted = forget(boundary_shrink(**SMALL, epochs=10, reweight=True), trained(), request, key=KEY)
  assert loss(trained()) * 1.05 < loss(weighted.model) < loss(curved.model)


def test_messages():
  with pytest.raises(ValueError, match="eps must be >= 0"):
    boundary_shrink(eps=-0.1)
  with pytest.raises(ValueError, match="curvature must be >= 0"):
    boundary_shrink(curvature=-1.0)
  for value in ((1.0, 0.0), (0.0,)):
    with pytest.raises(ValueError, match="value_range must be"):
      clip_range(value)
  with pytest.raises(ValueError, match="adversary needs the labels as the input 'cond'"):
    outputs(Model(trained().params, fn=objectives.adversary(TOY)), class_request().forget)
