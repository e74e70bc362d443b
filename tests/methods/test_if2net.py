"""IF2Net: recursive least squares in any order, frozen features, a projector that leaves old answers alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import ToyFn, toy_data

import unlearnjax as uj
from unlearnjax import memory, methods, models
from unlearnjax.core import Task, learn
from unlearnjax.memory.recursive import in_two
from unlearnjax.models.random_features import minmax, sparse_decoder

KEY, FN, DATA = jax.random.key(0), ToyFn(classes=4), toy_data(80, classes=4)
SMALL = dict(features=30, hidden=10, groups=2, group_size=3, scale=2.0)


def tasks(order=(0, 1, 2, 3)):
  y = DATA.column("y")
  return [Task(str(c), i, DATA.where(y == c), DATA.where(y == c), (c,)) for i, c in enumerate(order)]


def rows_and_targets(seed=0, n=40, m=12):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(n, m)), rng.normal(size=(n, 3))


@pytest.mark.parametrize("batches", [(40,), (7, 20, 13), (1,) * 40])
def test_whatever_the_batches_it_is_the_joint_ridge(batches):
  g, y = rows_and_targets()
  order = np.random.default_rng(len(batches)).permutation(40)
  seen, start = memory.nothing_seen(12, 3), 0
  for size in batches:
    part = order[start : start + size]
    seen, start = memory.recursive_ridge(seen, g[part], y[part], alpha=0.1), start + size
  inverse = np.linalg.inv(g.T @ g + 0.1 * np.eye(12))
  np.testing.assert_allclose(seen.weights, inverse @ g.T @ y, atol=1e-10)
  np.testing.assert_allclose(seen.inverse, 0.1 * inverse, atol=1e-10)


def test_without_a_ridge_it_projects_off_what_it_saw():
  g, y = rows_and_targets(n=5)
  p = memory.recursive_ridge(memory.nothing_seen(12, 3), g, y, alpha=1e-9).inverse
  np.testing.assert_array_equal(p, p.T)
  np.testing.assert_allclose(p @ p, p, atol=1e-6)
  np.testing.assert_allclose(p @ g.T, 0, atol=1e-6)
  assert np.trace(p) == pytest.approx(12 - 5, abs=1e-6)
  both = in_two(p)
  np.testing.assert_allclose(both.astype(np.float64).sum(0), p, atol=1e-13)
  with pytest.raises(ValueError, match=r"rows must be \[n, 12\] and targets \[n, 3\], got \(5, 12\) and \(4, 3\)"):
    memory.recursive_ridge(memory.nothing_seen(12, 3), g, y[:4])
  with pytest.raises(ValueError, match="alpha must be > 0"):
    memory.recursive_ridge(memory.nothing_seen(12, 3), g, y, alpha=0)


def test_the_order_of_tasks_changes_nothing():
  method = methods.if2net(tweak=False, features=40)
  *_, first = learn(method, FN.init(KEY), tasks(), key=KEY)
  *_, second = learn(method, FN.init(KEY), tasks((2, 0, 3, 1)), key=KEY)
  np.testing.assert_allclose(first.state.params["output"], second.state.params["output"], atol=1e-4)
  g = uj.outputs(first.model, DATA, capture=("features",))["features"].astype(np.float64)
  want = np.linalg.solve(g.T @ g + 1e-3 * np.eye(40), g.T @ np.eye(4)[DATA.column("y")])
  np.testing.assert_allclose(first.state.params["output"], want, atol=2e-3)  # the joint ridge
  assert np.mean(uj.outputs(first.model, DATA)["logits"].argmax(-1) == DATA.column("y")) > 0.85
  assert first.cost["gradient_evaluations"] == 0


def test_features_and_their_statistics_are_those_of_the_first_task():
  method = methods.if2net(**SMALL)
  results = list(learn(method, FN.init(KEY), tasks(), key=KEY))
  jax.tree.map(np.testing.assert_array_equal, results[0].refs["encoder"], results[-1].refs["encoder"])
  jax.tree.map(np.testing.assert_array_equal, results[-1].state.params["net"], dict(FN.init(KEY).params))
  whole = uj.outputs(results[-1].model, DATA)["logits"]
  alone = uj.outputs(results[-1].model, DATA[:1])["logits"]  # a batch of one is answered as among others
  np.testing.assert_allclose(alone[0], whole[0], atol=1e-4)
  assert (uj.outputs(results[1].model, DATA)["logits"].argmax(-1) <= 1).all()  # classes seen so far compete
  body = methods.if2net(site="head:in", tweak=False, features=40)
  *_, last = learn(body, FN.init(KEY), tasks(), key=KEY)
  assert last.refs["encoder"]["kernel"].shape == (9, 40)
  assert np.mean(uj.outputs(last.model, DATA)["logits"].argmax(-1) == DATA.column("y")) > 0.8


def test_projected_steps_leave_old_answers_alone_where_plain_ones_do_not():
  method = methods.if2net(update="gradient", tweak=False, features=60, alpha=1e-4, epochs=10)
  first, second, *_ = learn(method, FN.init(KEY), tasks(), key=KEY)
  old = tasks()[0].train
  answers = lambda result: (
    uj.outputs(result.model, old, capture=("features",))["features"] @ np.asarray(result.state.params["output"])
  )
  moved = np.abs(answers(second) - answers(first)).max()
  assert moved < 0.02 and np.abs(second.state.params["output"] - first.state.params["output"]).max() > 0.1


def test_pieces_of_the_tweak():
  rng = np.random.default_rng(0)
  a, b = rng.random((30, 4)), rng.normal(size=(30, 6))
  v = sparse_decoder(a, b, weight=0.5, steps=3000)
  slope = a.T @ (a @ v - b)  # the subgradient of the lasso holds 0
  on = np.abs(v) > 1e-6
  np.testing.assert_allclose(slope[on], -0.5 * np.sign(v[on]), atol=1e-3)
  assert (np.abs(slope[~on]) <= 0.5 + 1e-3).all()
  z, low, span = minmax(b)
  assert z.min() == 0 and z.max() == 1
  np.testing.assert_allclose(z * span + low, b)
  x = rng.normal(size=(20, 6)).astype(np.float32)
  frozen = models.random_encoder(KEY, x, **SMALL)
  again = models.random_encoder(KEY, x[::-1], **SMALL)
  for name in ("kernel", "bias"):  # what is drawn does not depend on the inputs
    np.testing.assert_array_equal(frozen[name], again[name])
  np.testing.assert_allclose(
    models.encode(jnp.asarray(3 * x + 1), frozen), models.encode(jnp.asarray(x), frozen), atol=1e-4
  )
  plain = models.encode(jnp.asarray(x), models.random_encoder(KEY, x, features=500, tweak=False))
  assert 0.3 < np.mean(np.sum(np.asarray(plain) ** 2, 1)) < 3


@pytest.mark.parametrize("arguments, message", [
  (dict(update="rls"), "update must be one of closed, gradient"),
  (dict(alpha=0), "alpha must be > 0"),
  (dict(features=0), "features must be > 0"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments, message):
  with pytest.raises(ValueError, match=message):
    methods.if2net(**arguments)


@pytest.mark.slow
def test_on_digits_no_class_is_forgotten():
  stream = uj.data.class_incremental("digits", seed=0)
  fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=10, widths=(8,))
  found = {}
  for name, settings in {
    "closed": {},
    "projected": dict(update="gradient", epochs=5, tweak=False),
    "plain": dict(update="gradient", epochs=5, tweak=False, alpha=1e9),  # P stays I
  }.items():
    results = learn(methods.if2net(**settings), fn.init(KEY), stream, key=KEY)
    found[name] = uj.metrics.average_accuracy(uj.metrics.accuracy_matrix(results, stream))
  assert found["closed"] > 0.95 and found["projected"] > 0.9 and found["plain"] < 0.6, found
