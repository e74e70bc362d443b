"""Influence: exact where the loss is quadratic, and a true inverse elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import TOY
from toy_net import linear
from toy_trained import accuracy, class_request, equal, trained

from unlearnjax import losses
from unlearnjax.core import Examples, ForgetRequest, Model, Run, forget
from unlearnjax.methods.classification.influence import influence, sampled_batch

KEY = jax.random.key(1)
L2 = 0.3


def ridge(x, y):
  """The minimum of mean |x w - y|^2 + L2 |w|^2 / 2."""
  return np.linalg.solve(2 * x.T @ x / len(x) + L2 * np.eye(x.shape[1]), 2 * x.T @ y / len(x))


def regression(size=30):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(size, 4)).astype(np.float32)
  y = (x @ rng.normal(size=(4, 1)) + rng.normal(size=(size, 1))).astype(np.float32)
  return Examples({"x": x, "y": y})


def test_ridge_regression_is_retrained_exactly():
  table = regression()
  x, y = table.column("x").astype(np.float64), table.column("y").astype(np.float64)
  model = Model({"kernel": jnp.asarray(ridge(x, y), jnp.float32)}, fn=linear)
  request = ForgetRequest(table[:7], table[7:])
  method = influence(damping=L2, loss=losses.squared_error, batch_size=8)
  found = forget(method, model, request, key=KEY).model.params["kernel"]
  np.testing.assert_allclose(found, ridge(x[7:], y[7:]), atol=2e-6)
  assert np.abs(found - model.params["kernel"]).max() > 0.01


def test_ridge_regression_is_retrained_to_1e_10_in_float64():
  rng = np.random.default_rng(3)
  x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 1))
  with jax.enable_x64():
    table, model = Examples({"x": x, "y": y}), Model({"kernel": jnp.asarray(ridge(x, y))}, fn=linear)
    method = influence(damping=L2, loss=losses.squared_error, tolerance=1e-13)
    found = forget(method, model, ForgetRequest(table[:7], table[7:]), key=KEY).model.params["kernel"]
    np.testing.assert_allclose(found, ridge(x[7:], y[7:]), atol=1e-10)


def test_woodfisher_is_the_inverse_of_its_matrix():
  """The step solves (damping I + mean g g^T) step = influence, with gradients of each retain example."""
  request, damping = class_request(), 0.5
  found = forget(influence(solver="woodfisher", damping=damping), trained(), request, key=KEY).model.params
  flat = lambda tree, lead=(): np.concatenate([np.reshape(x, (*lead, -1)) for x in jax.tree.leaves(tree)], -1)
  nll = lambda p, x, y: -jax.nn.log_softmax(TOY(p, {"x": x[None]}).logits[0])[y]
  slopes = jax.jit(jax.vmap(jax.grad(nll), in_axes=(None, 0, 0)))
  rows = lambda s: flat(slopes(trained().params, s.column("x"), s.column("y")), (len(s),)).astype(np.float64)
  retain, gone = rows(request.retain), rows(request.forget)
  n_r, n_f = len(retain), len(gone)
  influenced = gone.sum(0) / (n_r + n_f) - n_f / ((n_r + n_f) * n_r) * retain.sum(0)
  want = np.linalg.solve(damping * np.eye(retain.shape[1]) + retain.T @ retain / n_r, influenced)
  np.testing.assert_allclose(flat(found) - flat(trained().params), want, atol=2e-5)


def test_rank2_passes_through_and_is_not_an_inverse():
  request = class_request()
  one = forget(influence(solver="woodfisher"), trained(), request, key=KEY).model.params
  two = forget(influence(solver="woodfisher", compat="rank2"), trained(), request, key=KEY).model.params
  gap = max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)))
  assert gap > 1e-5


def test_the_class_goes_and_the_others_stay():
  request, run = class_request(), Run()
  result = forget(influence(alpha=5.0), trained(), request, key=KEY, run=run)
  assert accuracy(result.model, request.forget) < 0.2 and accuracy(result.model, request.retain) > 0.95
  assert run.cost.steps == 0


def test_alpha_zero_and_no_gradient_change_nothing():
  assert equal(forget(influence(alpha=0.0), trained(), class_request(), key=KEY).model.params, trained().params)
  perfect = Model({"kernel": jnp.ones((4, 1))}, fn=linear)
  table = regression()
  table = table.replace(y=table.column("x").sum(1, keepdims=True))
  method = influence(damping=L2, loss=losses.squared_error)
  found = forget(method, perfect, ForgetRequest(table[:3], table[3:]), key=KEY).model.params
  np.testing.assert_allclose(found["kernel"], 1.0, atol=1e-5)


def test_batches_are_padded_and_subsampled():
  source = class_request().retain
  whole = sampled_batch(source, 1000, KEY)
  assert whole["inputs"]["x"].shape == (128, 4) and int(whole["valid"].sum()) == len(source)
  part = sampled_batch(source, 20, KEY)
  assert part["valid"].shape == (20,) and bool(part["valid"].all())
  assert set(np.asarray(part["id"]).ravel()) <= set(source.ids) and len(np.unique(part["id"])) == 20


def test_messages():
  for options, message in (
    (dict(solver="lu"), "solver must be one of cg, woodfisher"),
    (dict(damping=0.0), "damping must be > 0"),
    (dict(compat="rank2"), "compat must be None, or 'rank2' with solver='woodfisher'"),
    (dict(max_examples=0), "max_examples must be > 0"),
  ):
    with pytest.raises(ValueError, match=message):
      influence(**options)
  with pytest.raises(ValueError, match="influence needs a retain set"):
    forget(influence(), trained(), class_request()._replace(retain=None), key=KEY)
  with pytest.raises(ValueError, match="defined for damping 1"):
    method = influence(solver="woodfisher", compat="rank2", damping=0.5)
    forget(method, trained(), class_request(), key=KEY)
