"""L-CODEC: exact for ridge regression, and never outside of the slices that were chosen."""

from __future__ import annotations

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from toy_cases import MLP
from toy_net import mlp_params, tanh_mlp
from toy_trained import class_request, equal, trained

from unlearnjax import losses
from unlearnjax.core import Examples, ForgetRequest, Model, Run, forget
from unlearnjax.core.types import EMPTY, Outputs
from unlearnjax.methods.classification.l_codec import l_codec, noise_scale

KEY = jax.random.key(1)
L2 = 0.3
SMALL = dict(copies=60, noise=0.5, max_examples=64)


def affine(params, inputs, *, capture=(), inject=EMPTY, **_):
  out = inputs["x"] @ params["fc"]["kernel"] + params["fc"]["bias"]
  return Outputs(out, {"fc": out})


def ridge(x, y):
  """The minimum of mean |x w + b - y|^2 + L2 (|w|^2 + b^2) / 2."""
  x = np.concatenate([x, np.ones((len(x), 1))], 1)
  w = np.linalg.solve(2 * x.T @ x / len(x) + L2 * np.eye(x.shape[1]), 2 * x.T @ y / len(x))
  return {"fc": {"kernel": jnp.asarray(w[:-1], jnp.float32), "bias": jnp.asarray(w[-1], jnp.float32)}}


def test_ridge_regression_is_retrained_exactly():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(30, 4)).astype(np.float32)
  y = (x @ rng.normal(size=(4, 1)) + 1 + rng.normal(size=(30, 1))).astype(np.float32)
  table = Examples({"x": x, "y": y})
  model = Model(ridge(x, y), fn=affine)
  method = l_codec(
    weight_decay=L2, epsilon=None, group=7, max_drop=None, layers=("fc",), loss=losses.squared_error, **SMALL
  )
  result = forget(method, model, ForgetRequest(table[:7], table[7:]), key=KEY)
  want = ridge(x[7:], y[7:])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), result.model.params, want)
  assert np.abs(result.model.params["fc"]["kernel"] - model.params["fc"]["kernel"]).max() > 0.01
  assert float(result.state.slots["remaining"]) == 23


def written_out(hessian, mean_loss, start, gone, retain, on, decay):
  """Where the chosen weights go, with the matrices as they stand in the paper and in its code."""
  start, m, n = start.astype(np.float64), len(gone), len(gone) + len(retain)
  every = np.concatenate([gone, retain])
  gradient = jax.jit(jax.grad(mean_loss))
  slope = lambda w, rows: np.asarray(gradient(jnp.asarray(w), rows), np.float64)
  if hessian == "exact":
    left = jax.jit(jax.hessian(mean_loss))(jnp.asarray(start), retain)[np.ix_(on, on)]
  else:

    def outer(rows):
      ahead = start - 1e-3 * slope(start, rows)
      change = (slope(ahead, rows) - slope(start, rows))[on]
      return np.outer(change, change) / np.abs(ahead - start)[on].sum()

    left = (n * outer(every) - m * outer(gone)) / (n - m)
  pull = m * (slope(start, gone) + decay * start)[on]
  return start[on] + np.linalg.solve(np.asarray(left, np.float64) + decay * np.eye(len(on)), pull) / (n - m)


@pytest.mark.parametrize("hessian", ["exact", pytest.param("differences", marks=pytest.mark.slow)])
def test_the_newton_step_of_a_network_written_out(hessian):
  with jax.enable_x64(True):
    rng, decay = np.random.default_rng(5), 1.0
    x, y = rng.normal(size=(40, 6)), rng.integers(0, 4, 40)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), mlp_params(sizes=(6, 5, 4)))
    table = Examples({"x": x, "y": y})
    method = l_codec(
      weight_decay=decay,
      epsilon=None,
      group=2,
      jitter=0.0,
      hessian=hessian,
      layers=("fc", "head"),
      max_drop=None,
      **SMALL,
    )
    request = ForgetRequest(table[:2], table[2:])
    result = forget(method, Model(params, fn=tanh_mlp), request, key=KEY)
    start, unravel = jax.flatten_util.ravel_pytree(params)
    end = np.asarray(jax.flatten_util.ravel_pytree(result.model.params)[0])
    on = np.flatnonzero(np.asarray(start) != end)

    def mean_loss(w, rows):
      return losses.cross_entropy(tanh_mlp(unravel(w), {"x": jnp.asarray(x)[rows]}).logits, jnp.asarray(y)[rows]).mean()

    want = written_out(hessian, mean_loss, np.asarray(start), np.arange(2), np.arange(2, 40), on, decay)
    assert 5 < len(on) and np.abs(want - np.asarray(start)[on]).max() > 0.01
    np.testing.assert_allclose(end[on], want, rtol=1e-5, atol=1e-7)


@functools.cache
def one_example():
  request = class_request()
  gone = request.forget[:1]
  return request._replace(forget=gone, ids=gone.ids, classes=())


def changed(a, b):
  """{path: bool[units]}, where any weight of a unit differs."""
  moved = jax.tree.map(lambda p, q: np.any((p != q).reshape(-1, p.shape[-1]), 0), a, b)
  return {layer: leaves["kernel"] | leaves["bias"] for layer, leaves in layers(moved).items()}


def layers(tree, path=""):
  if "kernel" in tree:
    return {path: tree}
  return {k: v for name, part in tree.items() for k, v in layers(part, f"{path}/{name}".strip("/")).items()}


@pytest.mark.parametrize("epsilon", [1e4, pytest.param(None, marks=pytest.mark.slow)])
def test_only_chosen_slices_move_and_noise_does_not_leave_them(epsilon):
  start = trained(MLP)
  method = l_codec(weight_decay=0.1, limit=1, max_drop=None, epsilon=epsilon, **SMALL)
  result = forget(method, start, one_example(), key=KEY)
  assert sum(int(units.sum()) for units in changed(result.model.params, start.params).values()) == 1


@pytest.mark.slow
def test_a_step_that_ruins_the_others_is_not_taken():
  run = Run()
  method = l_codec(weight_decay=0.01, epsilon=1e-6, max_drop=0.05, **SMALL)
  result = forget(method, trained(MLP), one_example(), key=KEY, run=run)
  assert equal(result.model.params, trained(MLP).params) and run.cost.steps == 1


def test_noise_falls_with_privacy_and_grows_with_the_group():
  assert noise_scale(0.1, 0.01, 0.01) > noise_scale(1.0, 0.01, 0.01) > 0 == noise_scale(None, 0.01, 0.01)
  sigma = noise_scale(0.1, 0.01, 0.01) / 60_000**2  # the paper's constants on a set of that size
  np.testing.assert_allclose(sigma, 2 * 0.25 / (60_000**2 * 0.01**3) / 0.1 * np.sqrt(2 * np.log(125)), rtol=1e-12)


def test_messages():
  for options, message in (
    (dict(weight_decay=0.0), "weight_decay must be > 0, got 0"),
    (dict(epsilon=0.0), "epsilon must be > 0, got 0"),
    (dict(delta=1.0), r"delta must be in \(0, 1\), got 1"),
    (dict(copies=1), "copies must be >= 2, got 1"),
    (dict(group=0), "group must be > 0, got 0"),
    (dict(hessian="full"), "hessian must be one of"),
  ):
    with pytest.raises(ValueError, match=message):
      l_codec(**options)
  with pytest.raises(ValueError, match="l_codec needs a retain set"):
    forget(l_codec(), trained(MLP), class_request()._replace(retain=None), key=KEY)
  with pytest.raises(ValueError, match="layers' inputs of a ToyFn are not known"):
    forget(l_codec(), trained(), class_request(), key=KEY)
