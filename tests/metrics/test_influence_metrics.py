"""Influence by unlearning: closed forms, first order, and agreement with training again."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, toy_data
from toy_lm import bigram_model, sentences

import unlearnjax as uj
from unlearnjax import metrics, objectives
from unlearnjax.core import Examples, Model, Outputs, Run

KEY = jax.random.key(0)


def line(params, inputs, **_):
  return Outputs(inputs["x"] @ params)


def half_square(out, y):
  return jnp.sum((out - y) ** 2, -1) / 2


SQUARE = functools.partial(objectives.supervised, loss=half_square)
SGD = optax.sgd(1e-3)


def linear_sets(seed=0):
  """Sets of 4, 6 and 5 rows in R^5, and a model in the middle of nowhere."""
  rng = np.random.default_rng(seed)
  x, y = rng.normal(size=(15, 5)).astype(np.float32), rng.normal(size=(15, 1)).astype(np.float32)
  table = Examples({"x": x, "y": y})
  parts = {"a": table[:4], "b": table[4:10]}
  return Model(jnp.asarray(rng.normal(size=(5, 1)), jnp.float32), fn=line), parts, {"t": table[10:], "b": parts["b"]}


def gradients(model, sets):
  w = np.asarray(model.params, np.float64)
  return [s.column("x").T.astype(np.float64) @ (s.column("x") @ w - s.column("y")) for s in sets.values()]


def losses(w, sets):
  return np.array([np.sum((s.column("x") @ w - s.column("y")) ** 2) / 2 for s in sets.values()])


def test_one_small_step_is_the_product_of_gradients():
  model, parts, tests = linear_sets()
  dots = metrics.gradient_influence(model, parts, tests, objective=SQUARE)
  want = np.array([[float(np.sum(a * b)) for b in gradients(model, tests)] for a in gradients(model, parts)])
  np.testing.assert_allclose(dots, want, rtol=1e-4)
  small = {"objective": SQUARE, "tx": SGD, "key": KEY}
  full = lambda name: {"batch_size": len(parts[name]), **small}  # the mean over a set: one step for the sum
  rows = [metrics.untrac(model, {n: parts[n]}, tests, **full(n))[0] * len(parts[n]) for n in parts]
  np.testing.assert_allclose(np.array(rows) / 1e-3, dots, rtol=0.03)
  inverse = metrics.untrac_inv(model, parts, tests, steps=1, **small)
  sizes = np.array([len(s) for s in tests.values()])
  np.testing.assert_allclose(inverse * sizes / 1e-3, dots, rtol=0.03)
  cosine = metrics.gradient_influence(model, parts, tests, objective=SQUARE, kind="cosine")
  assert np.abs(cosine).max() <= 1 + 1e-6 and cosine[1, 1] == pytest.approx(1)


def test_answers_of_a_language_model_count_by_their_tokens():
  table = sentences(24)
  parts, tests = {"a": table[:10], "b": table[10:16]}, {"t": table[16:]}
  given = {"objective": objectives.nll}
  dots = metrics.gradient_influence(bigram_model(), parts, tests, **given)
  moved = metrics.untrac_inv(bigram_model(), parts, tests, tx=SGD, steps=1, key=KEY, **given)
  tokens = tests["t"].column("mask").sum()
  np.testing.assert_allclose(moved * tokens / 1e-3, dots, rtol=0.05, atol=0.05 * np.abs(dots).max())


def test_a_quadratic_in_closed_form():
  model, parts, tests = linear_sets(1)
  tx, steps = optax.sgd(0.05), 4
  found = metrics.untrac_inv(model, parts, tests, objective=SQUARE, tx=tx, steps=steps, key=KEY)
  w0 = np.asarray(model.params, np.float64)
  want = []
  for source in tests.values():
    x, y = source.column("x").astype(np.float64), source.column("y")
    hessian = x.T @ x / len(x)
    optimum = np.linalg.lstsq(x, y, rcond=None)[0]  # ascent leaves it as (1 + eta H)^T
    w = optimum + np.linalg.matrix_power(np.eye(5) + 0.05 * hessian, steps) @ (w0 - optimum)
    want.append(losses(w, parts) - losses(w0, parts))
  np.testing.assert_allclose(found, np.array(want).T, rtol=1e-4, atol=1e-4)


def test_nothing_moves_without_a_rate_and_nothing_reaches_what_shares_no_feature():
  model, parts, tests = linear_sets()
  still = metrics.untrac(model, parts, tests, objective=SQUARE, tx=optax.sgd(0.0), key=KEY)
  np.testing.assert_array_equal(still, np.zeros((2, 2)))
  x = np.eye(4, dtype=np.float32)
  table = Examples({"x": x, "y": np.ones((4, 1), np.float32)})
  apart = metrics.untrac(
    Model(jnp.zeros((4, 1)), fn=line), {"a": table[:2]}, {"a": table[:2], "b": table[2:]}, objective=SQUARE,
    tx=optax.sgd(0.1), key=KEY,
  )  # fmt: skip
  assert apart[0, 0] > 0.1 and apart[0, 1] == 0


def test_leaving_out_keeps_the_number_of_steps_and_the_model_alive(tmp_path):
  data = toy_data(60)
  parts = {str(c): data.where(data.column("y") == c) for c in range(3)}
  fresh = TOY.init(KEY)
  run = Run(out=tmp_path)
  given = dict(tx=optax.adam(0.03), steps=11, batch_size=16, key=KEY)
  truth = metrics.leave_one_out(fresh, parts, parts, run=run, **given)
  assert run.cost.steps == 4 * 11 and truth.influence.shape == (3, 3)
  assert (truth.influence.argmax(0) == np.arange(3)).all() and (np.diag(truth.influence) > 0).all()
  again = metrics.leave_one_out(fresh, parts, parts, run=Run(out=tmp_path), **given)  # from the checkpoints
  np.testing.assert_array_equal(again.influence, truth.influence)
  estimate = metrics.untrac(truth.full, parts, parts, tx=optax.adam(1e-3), batch_size=4, key=KEY)
  assert (metrics.influence_agreement(estimate, truth.influence) > 0.8).all()
  with pytest.raises(ValueError, match="at least two training sets, got 1"):
    metrics.leave_one_out(fresh, {"a": data}, parts, **given)


def test_agreement():
  estimate = np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
  truth = np.array([[0.0, 1.0], [-2.0, 2.0], [-6.0, 3.0]])
  np.testing.assert_array_equal(metrics.influence_agreement(estimate, truth), [-1, np.nan])
  ranks = metrics.influence_agreement(np.exp(estimate), truth, kind="spearman")
  assert ranks[0] == pytest.approx(-1) and np.isnan(ranks[1])
  with pytest.raises(ValueError, match=r"must be \[S, J\] with S >= 2, got shapes \(1, 2\) and \(1, 2\)"):
    metrics.influence_agreement(truth[:1], truth[:1])
  with pytest.raises(ValueError, match="kind must be one of dot, cosine"):
    metrics.gradient_influence(*linear_sets(), kind="newton")


@pytest.mark.slow
def test_classes_of_digits_matter_to_themselves_as_leaving_them_out_says():
  """The card's study: ten class data sets, one hidden layer of 64, Adam 1e-3; Pearson about 0.92 a test set."""
  digits = uj.data.load("digits")
  fn = uj.models.make("mlp", input_shape=digits.input_shape, num_outputs=10, widths=(64,), activation="tanh")
  by_class = lambda source: {str(c): source.where(source.column("y") == c) for c in range(10)}
  parts, tests = by_class(digits.train), by_class(digits.test)
  truth = metrics.leave_one_out(fn.init(KEY), parts, tests, tx=optax.adam(1e-3), steps=400, batch_size=64, key=KEY)
  ascent = {"tx": optax.adam(1e-3), "key": KEY}
  found = {
    "untrac": metrics.untrac(truth.full, parts, tests, batch_size=16, **ascent),
    "inverse": metrics.untrac_inv(truth.full, parts, tests, steps=5, **ascent),
    "cosine": metrics.gradient_influence(truth.full, parts, tests, kind="cosine"),
    "dot": metrics.gradient_influence(truth.full, parts, tests),
  }
  agreement = {name: metrics.influence_agreement(x, truth.influence).mean() for name, x in found.items()}
  assert min(agreement["untrac"], agreement["inverse"], agreement["cosine"]) > 0.9
  assert all((x.argmax(0) == np.arange(10)).all() for x in found.values())
