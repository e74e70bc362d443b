"""Blindspot and Gaussian amnesiac: limits of the marked loss, targets drawn once, the order on a toy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_trained import equal

from unlearnjax import losses, models, objectives
from unlearnjax.core import Examples, ForgetRequest, Run, View, bound, forget, outputs, role_batch
from unlearnjax.methods.classification.blindspot import blindspot
from unlearnjax.methods.classification.gaussian_amnesiac import gaussian_amnesiac
from unlearnjax.training import Recipe, train

FN = models.make("regression_mlp", input_shape=(3,), num_outputs=1, widths=(16,))
CONV = models.make("convnet", input_shape=(4, 4, 1), num_outputs=1, widths=(4,), dense=8)
L1 = functools.partial(objectives.supervised, loss=losses.absolute_error)
BLIND = blindspot(tx=optax.adam(0.01), epochs=30, batch_size=32, proxy_epochs=30)


@functools.cache
def request() -> ForgetRequest:
  """The lowest quarter of the values of a smooth function."""
  x = np.random.default_rng(0).normal(size=(160, 3)).astype(np.float32)
  y = (2 * np.tanh(x[:, 0]) + 0.5 * x[:, 1]).astype(np.float32)
  table, low = Examples({"x": x, "y": y}), y < np.quantile(y, 0.25)
  return ForgetRequest(table.where(low), table.where(~low), table.where(low).ids)


@functools.cache
def original():
  everything = request().forget + request().retain
  return train(FN, everything, Recipe(optax.adam(0.01), 60, 32, L1), key=jax.random.key(0))


def error(model, source) -> float:
  return float(np.abs(outputs(model, source)["logits"][:, 0] - source.column("y")).mean())


def view(refs):
  return View(jnp.zeros((), jnp.int32), jax.random.key(0), refs, {}, ())


def test_the_marked_loss_is_pure_at_both_ends():
  params, other = original().params, FN.init(jax.random.key(5))
  batch = role_batch(request().retain, slice(8))
  refs = view({"proxy": {"params": other.params, "state": other.state}})
  follow, keep = objectives.attention_distill(FN, losses.absolute_error), L1(FN)
  value = lambda mark: float(objectives.marked(follow, keep)(params, {**batch, "forget": mark}, refs)[0])
  pure = float(keep(params, batch, refs)[0]), float(follow(params, batch, refs)[0])
  assert value(jnp.zeros(8)) == pytest.approx(pure[0], rel=1e-5)
  assert value(jnp.ones(8)) == pytest.approx(pure[1], rel=1e-5)
  part = lambda rows: float(follow(params, role_batch(request().retain, slice(*rows)), refs)[0])
  rest = float(keep(params, role_batch(request().retain, slice(2, 8)), refs)[0])
  assert value(jnp.arange(8) < 2) == pytest.approx(0.25 * part((0, 2)) + 0.75 * rest, rel=1e-5)


def test_beta_zero_drops_the_attention_maps():
  model, other = CONV.init(jax.random.key(0)), CONV.init(jax.random.key(1))
  images = Examples({"x": np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)})
  refs = view({"proxy": {"params": other.params, "state": other.state}})
  value = lambda beta: float(
    objectives.attention_distill(CONV, sites=("blocks/0",), beta=beta)(model.params, role_batch(images), refs)[0]
  )
  plain = objectives.attention_distill(CONV)(model.params, role_batch(images), refs)[0]
  assert value(0.0) == pytest.approx(float(plain)) and value(2.0) > value(1.0) > value(0.0)
  gap = losses.attention_transfer(
    *(m({"x": images.column("x")}, capture=("blocks/0",)).hidden["blocks/0"] for m in (model, other))
  )
  assert value(2.0) - value(1.0) == pytest.approx(float(jnp.mean(gap)), rel=1e-4)


def test_blindspot_goes_further_than_gaussian_amnesiac_and_both_keep_the_rest():
  before = {r: error(original(), getattr(request(), r)) for r in ("forget", "retain")}
  amnesiac = gaussian_amnesiac(tx=optax.adam(0.003), epochs=10, batch_size=32)
  found = {m.name: forget(m, original(), request(), key=jax.random.key(1)).model for m in (BLIND, amnesiac)}
  assert before["forget"] < 0.3
  assert error(found["blindspot"], request().forget) > 2 * before["forget"]
  assert error(found["gaussian_amnesiac"], request().forget) > 1.5 * before["forget"]
  assert error(found["blindspot"], request().retain) < 0.5


def test_blindspot_approaches_the_proxy_on_the_forget_set_and_keeps_its_shapes():
  verbs = bound(BLIND, FN)
  state, empty = verbs.init(original(), jax.random.key(1))
  state, refs = verbs.forget(state, empty, request(), Run())
  assert jax.tree.map(jnp.shape, refs) == jax.tree.map(jnp.shape, empty)
  said = lambda params: np.asarray(FN(params, {"x": request().forget.column("x")}).logits)
  proxy = said(refs["proxy"]["params"])
  assert np.abs(said(state.params) - proxy).mean() < 0.7 * np.abs(said(original().params) - proxy).mean()


def test_targets_are_drawn_once_from_the_distribution_of_all():
  method = gaussian_amnesiac(epochs=0)
  assert equal(forget(method, original(), request(), key=jax.random.key(1)).model.params, original().params)
  train_on = gaussian_amnesiac(tx=optax.adam(0.01), epochs=200, batch_size=160)
  a, b = (forget(train_on, original(), request(), key=jax.random.key(k)).model for k in (1, 1))
  assert equal(a.params, b.params)
  mean = float(np.mean((request().forget + request().retain).column("y")))
  assert abs(outputs(a, request().forget)["logits"].mean() - mean) < abs(request().forget.column("y").mean() - mean)


def test_errors():
  alone = request()._replace(retain=None)
  for method in (blindspot(), gaussian_amnesiac()):
    with pytest.raises(ValueError, match=f"{method.name} needs a retain set"):
      forget(method, original(), alone, key=jax.random.key(0))
  with pytest.raises(ValueError, match="beta must be >= 0, got -1"):
    forget(blindspot(beta=-1), original(), request(), key=jax.random.key(0))
  with pytest.raises(ValueError, match="no column 'forget'"):
    objectives.marked(L1(FN), L1(FN))({}, {"valid": jnp.ones(1, bool)}, None)
