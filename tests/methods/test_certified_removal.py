"""Certified removal: exact where the loss is quadratic, bounded elsewhere, trained again when the budget is spent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import linear
from toy_trained import class_request, equal, random_request, trained

from unlearnjax import curvature
from unlearnjax.core import Examples, ForgetRequest, Model, Run, Task, forget, learn, outputs
from unlearnjax.methods import certified_removal
from unlearnjax.methods.exact import head as heads
from unlearnjax.metrics import noise_multiplier

KEY = jax.random.key(1)
L2 = 0.05
METHOD = certified_removal(l2=L2, sigma=3.0)  # one value: compiled once


def regression(size=40, d=4):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(size, d)).astype(np.float32)
  return Examples({"x": x, "y": (x @ rng.normal(size=d) + rng.normal(size=size)).astype(np.float32)})


class LinearFn:
  """x -> head, with the site that the methods read."""

  def __call__(self, params, inputs, *, capture=(), **options):
    out = linear(params["head"], inputs)
    return out.replace(hidden={"head:in": inputs["x"]} if "head:in" in capture else {})


def prepared(method, model, request, run=None):
  (result,) = learn(method, model, [Task("all", 0, request.forget + request.retain)], key=KEY, run=run)
  return result.state, result.refs


def minimum(x, y, b, l2=L2):
  """Of sum_i [(x w - y)^2 / 2 + l2 |w|^2 / 2] + b w."""
  return np.linalg.solve(x.T @ x + len(x) * l2 * np.eye(x.shape[1]), x.T @ y - b)


def test_ridge_regression_is_retraining_to_ten_digits():
  table = regression()
  x, y = (table.column(k).astype(np.float64) for k in ("x", "y"))
  with jax.enable_x64(True):
    key = jax.random.key(1)
    model = Model({"head": {"kernel": jnp.zeros((4, 1), jnp.float64)}}, fn=LinearFn())
    method = certified_removal(loss="squared", radius=None, l2=L2, sigma=2.0, tolerance=1e-14, iterations=60)
    (start,) = learn(method, model, [Task("all", 0, table)], key=key)
    before = np.asarray(start.state.params["head"]["kernel"])[:, 0]
    b = np.asarray(start.state.slots["perturbation"]["kernel"])[:, 0]
    np.testing.assert_allclose(before, minimum(x, y, b), atol=1e-10)
    after = forget(method, model, ForgetRequest(table[:9], table[9:]), key=key, start=(start.state, start.refs))
    found = np.asarray(after.state.params["head"]["kernel"])[:, 0]
    np.testing.assert_allclose(found, minimum(x[9:], y[9:], b), atol=1e-10)
    assert np.abs(found - before).max() > 0.01 and np.abs(b).max() > 0.5
    assert float(after.state.slots["spent"]) < 1e-9 and int(after.state.slots["fits"]) == 1


def logistic_gradient(state, source):
  """Norm of the gradient of the perturbed loss at the head, by hand."""
  x = outputs(trained().replace(params=state.params), source, capture=("head:in",))["head:in"]
  x = np.asarray(heads.clip_rows(x, 1.0), np.float64)
  head = jax.tree.map(lambda a: np.asarray(a, np.float64), state.params["head"])
  b = jax.tree.map(lambda a: np.asarray(a, np.float64), state.slots["perturbation"])
  z = x @ head["kernel"] + head["bias"]
  slope = 1 / (1 + np.exp(-z)) - np.eye(3)[source.column("y")]
  n = len(source)
  kernel = x.T @ slope + n * L2 * head["kernel"] + b["kernel"]
  return np.sqrt(np.sum(kernel**2) + np.sum((slope.sum(0) + n * L2 * head["bias"] + b["bias"]) ** 2))


def test_the_account_bounds_the_gradient_that_is_left_and_grows_with_every_removal():
  request = random_request()
  start = prepared(METHOD, trained(), request)
  assert logistic_gradient(start[0], request.forget + request.retain) < 1e-3
  spent, kept, untouched = [float(start[0].slots["spent"])], request.retain + request.forget, start[0].params["head"]
  for i in range(3):
    gone = request.forget[3 * i : 3 * i + 3]
    kept = kept.without(gone)
    assert logistic_gradient(start[0], kept) > 0.02  # before the step
    result = forget(METHOD, trained(), ForgetRequest(gone, kept), key=KEY, start=start)
    start = result.state, result.refs
    spent.append(float(result.state.slots["spent"]))
    assert logistic_gradient(result.state, kept) <= spent[-1] and spent[-1] > spent[-2]
  assert int(result.state.slots["fits"]) == 1 and not equal(result.state.params["head"], untouched)
  assert equal(result.state.params["body"], trained().params["body"])


def test_the_bound_is_quadratic_in_the_step_and_holds_for_a_random_problem():
  rng = np.random.default_rng(0)
  x, v = jnp.asarray(rng.normal(size=(30, 5))), jnp.asarray(rng.normal(size=(5, 3)))
  once, twice = (float(curvature.newton_residual(x, s * v, 0.25)) for s in (1.0, 2.0))
  assert twice == pytest.approx(4 * once)
  assert float(curvature.newton_residual(x, v, 0.0)) == 0
  w, step = rng.normal(size=5), 0.3 * rng.normal(size=5)
  curve = lambda w: jax.nn.sigmoid(x @ w) * jax.nn.sigmoid(-(x @ w))
  moved = x.T @ ((curve(w + step) - curve(w)) * (x @ step))  # the change of curvature along the step
  bounds = [float(curvature.newton_residual(x, jnp.asarray(step), 0.25, bound=b)) for b in ("rows", "paper")]
  left = np.mean([np.asarray(x.T @ ((curve(w + s * step) - curve(w)) * (x @ step))) for s in np.linspace(0, 1, 101)], 0)
  assert np.linalg.norm(left) <= bounds[0] < bounds[1] and float(jnp.linalg.norm(moved)) <= bounds[1]


def test_a_spent_budget_trains_again_with_new_noise():
  request = class_request()
  start = prepared(METHOD, trained(), request)
  result = forget(METHOD, trained(), request, key=KEY, start=start)
  assert int(result.state.slots["fits"]) == 2
  assert not equal(result.state.slots["perturbation"], start[0].slots["perturbation"])
  assert logistic_gradient(result.state, request.retain) < 1e-3
  assert float(result.state.slots["spent"]) <= 3.0 / noise_multiplier(1.0, 1e-4)


def test_a_crash_between_learning_and_forgetting_changes_no_bit(tmp_path):
  request = random_request()
  runs = [Run(out=tmp_path / "a") for _ in range(2)]
  results = []
  for run in runs:  # the second finds everything done
    start = prepared(METHOD, trained(), request, run)
    results.append(forget(METHOD, trained(), request, key=KEY, run=run, start=start))
  assert equal(results[0].state.params, results[1].state.params)
  assert results[1].cost == pytest.approx(results[0].cost, abs=10)


def test_messages():
  for options, message in (
    (dict(loss="hinge"), "loss must be one of logistic, squared"),
    (dict(sigma=0.0), "sigma must be > 0"),
    (dict(epsilon=2.0), "proved for epsilon <= 1, got 2.0: use accountant='exact'"),
    (dict(delta=1.0), r"delta must be in \(0, 1\)"),
  ):
    with pytest.raises(ValueError, match=message):
      certified_removal(**options)
  request = random_request()
  with pytest.raises(ValueError, match="must learn before it can forget"):
    forget(METHOD, trained(), request, key=KEY)
  start = prepared(METHOD, trained(), request)
  with pytest.raises(ValueError, match="task 'more' is its second"):
    list(learn(METHOD, trained(), [Task("more", 1, request.retain)], key=KEY, start=start))
  with pytest.raises(ValueError, match="'body:in' must be the input of a linear layer"):
    heads.head_of({"body": {"kernel": jnp.zeros((3, 3, 1, 1))}}, "body:in")
