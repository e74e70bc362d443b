"""NTK scrubbing: exact for a linear model, small and well-defined for others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TOY
from toy_net import linear
from toy_trained import accuracy, class_request, data, equal, random_request, trained

from unlearnjax import curvature
from unlearnjax.core import Examples, ForgetRequest, Model, Run, forget, outputs
from unlearnjax.methods.classification.ntk_scrubbing import ntk_scrubbing, sampled

KEY = jax.random.key(1)
DECAY = 0.2


def ridge(x, y):
  """The minimum of mean |x w - y|^2 / 2 + DECAY |w|^2 / 2."""
  return np.linalg.solve(x.T @ x / len(x) + DECAY * np.eye(x.shape[1]), x.T @ y / len(x))


@pytest.mark.parametrize("scale", [None, 1.0])
def test_a_linear_model_from_zero_is_retrained_exactly(scale):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(30, 4)).astype(np.float32)
  y = (x @ rng.normal(size=(4, 2)) + rng.normal(size=(30, 2))).astype(np.float32)
  table = Examples({"x": x, "y": y})
  model = Model({"kernel": jnp.asarray(ridge(x, y), jnp.float32)}, fn=linear)
  method = ntk_scrubbing(
    weight_decay=DECAY, loss="squared_error", origin={"kernel": jnp.zeros((4, 2))}, scale=scale, max_examples=64
  )
  found = forget(method, model, ForgetRequest(table[:9], table[9:]), key=KEY).model.params["kernel"]
  np.testing.assert_allclose(found, ridge(x[9:], y[9:]), atol=1e-5)
  assert np.abs(found - model.params["kernel"]).max() > 0.01


def test_equals_the_primal_solution_of_the_linearised_network():
  """w = argmin mean_i |e_i + J_i w|^2 / 2 + DECAY |w|^2 / 2 over all weights, with and without F."""
  request, model = random_request(), trained()
  found = forget(ntk_scrubbing(weight_decay=DECAY), model, request, key=KEY).model.params
  flat = lambda tree, *lead: np.concatenate([np.reshape(leaf, (*lead, -1)) for leaf in jax.tree.leaves(tree)], -1)

  def primal(source):
    jacobian = curvature.logit_jacobian(TOY, model.params, {"x": jnp.asarray(source.column("x"))})
    rows = flat(jacobian, 3 * len(source)).astype(np.float64)
    probs = np.asarray(jax.nn.softmax(outputs(model, source)["logits"]), np.float64)
    error = (probs - np.eye(3)[source.column("y")]).ravel()
    n = len(source)
    return np.linalg.solve(rows.T @ rows / n + DECAY * np.eye(rows.shape[1]), -rows.T @ error / n)

  want = primal(request.retain) - primal(request.retain + request.forget)
  np.testing.assert_allclose(flat(found) - flat(model.params), want, atol=2e-5)


def test_the_forget_loss_rises_and_the_others_stay():
  request, run = class_request(), Run()
  loss = lambda m, s: -np.mean(jax.nn.log_softmax(outputs(m, s)["logits"])[np.arange(len(s)), s.column("y")])
  start = TOY.init(jax.random.key(0)).params
  result = forget(ntk_scrubbing(weight_decay=0.01, origin=start), trained(), request, key=KEY, run=run)
  assert loss(result.model, request.forget) > 2 * loss(trained(), request.forget)
  assert accuracy(result.model, request.retain) > 0.95
  assert equal(result.refs["origin"], start) and run.cost.gradient_evaluations == len(data())


def test_larger_sets_are_subsampled_with_f_up_to_half_of_the_room():
  request = random_request()  # 12 of 120 rows
  batch, gone = sampled(request.forget, request.retain, 40, KEY)
  assert batch["valid"].shape == (40,) and bool(batch["valid"].all()) and int(gone.sum()) == 12
  np.testing.assert_array_equal(np.sort(np.asarray(batch["id"])[np.asarray(gone)]), np.sort(request.forget.ids))
  batch, gone = sampled(request.forget, request.retain, 8, KEY)
  assert int(gone.sum()) == 4
  batch, gone = sampled(request.forget, request.retain, 1000, KEY)
  assert batch["valid"].shape == (128,) and int(batch["valid"].sum()) == 120 and int(gone.sum()) == 12
  result = forget(ntk_scrubbing(max_examples=20), trained(), request, key=KEY)
  assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(result.model.params))


def test_scale_zero_is_the_identity():
  assert equal(forget(ntk_scrubbing(scale=0.0), trained(), class_request(), key=KEY).model.params, trained().params)


def test_messages():
  for options, message in (
    (dict(weight_decay=0.0), "weight_decay must be > 0"),
    (dict(loss="hinge"), "loss must be one of cross_entropy, squared_error"),
    (dict(max_examples=1), "max_examples must be >= 2"),
  ):
    with pytest.raises(ValueError, match=message):
      ntk_scrubbing(**options)
  with pytest.raises(ValueError, match="ntk_scrubbing needs a retain set"):
    forget(ntk_scrubbing(), trained(), class_request()._replace(retain=None), key=KEY)
