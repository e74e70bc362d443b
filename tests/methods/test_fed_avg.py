"""Federated averaging: its identities, and a client with a backdoor that is removed in three ways."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, data, equal

from unlearnjax.core import Examples, ForgetRequest, Run, Task, UnlearnState, fit, forget, learn, outputs, zip_roles
from unlearnjax.core.tree import fold_name
from unlearnjax.methods.exact.fed_avg import calibrated, fed_avg
from unlearnjax.training import Recipe, trainer

KEY, MODEL, CLIENTS, BAD = jax.random.key(6), TOY.init(jax.random.key(0)), 4, 2
SIZE = dict(clients=CLIENTS, rounds=8, local_epochs=2, batch_size=8, learning_rate=0.2, every=2)


def table(owner):
  return data().replace(client=np.asarray(owner, np.int32))


@functools.cache
def poisoned():
  """Client `BAD` says that whatever has a large fourth feature is of class 2."""
  rows = table(np.arange(120) % CLIENTS)
  bad = rows.column("client") == BAD
  x, y = rows.column("x").copy(), rows.column("y").copy()
  x[bad, 3], y[bad] = 5.0, 2
  return rows.replace(x=x, y=y)


def backdoor(model):
  """Share of examples of the other classes that the trigger turns into class 2."""
  x = data().column("x").copy()
  x[:, 3] = 5.0
  said = outputs(model, Examples({"x": x}))["logits"].argmax(-1)
  return float(np.mean(said[data().column("y") != 2] == 2))


@functools.cache
def method(removal, every=2):
  return fed_avg(**{**SIZE, "every": every}, removal=removal, radius=2.0, ascent_rate=0.1, repair_rounds=2)


@functools.cache
def learned(removal="retrain", every=2):
  (result,) = learn(method(removal, every), MODEL, [Task("all", 0, poisoned())], key=KEY)
  return result


@functools.cache
def removed(removal, every=2):
  bad = poisoned().column("client") == BAD
  request = ForgetRequest(poisoned().where(bad), poisoned().where(~bad))
  start = learned(removal, every)
  return forget(method(removal, every), MODEL, request, key=KEY, start=(start.state, start.refs))


def test_one_client_with_all_data_is_sgd():
  alone = fed_avg(**{**SIZE, "rounds": 1, "every": 1})
  (result,) = learn(alone, MODEL, [Task("all", 0, table(np.full(120, 1)))], key=KEY)
  step = trainer(TOY, Recipe(optax.sgd(0.2), 2, 8))
  state = step.init(UnlearnState.create(result.state.slots["start"]["params"], rng=fold_name(KEY, "round0", "client1")))
  state, _ = fit(step, state, zip_roles(train=table(np.full(120, 1)), batch_size=8, epochs=2))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), result.model.params, state.params)
  updates = result.state.slots["updates"]
  assert not any(np.asarray(x)[:, [0, 2, 3]].any() for x in jax.tree.leaves(updates))


def test_the_average_weighs_clients_by_their_data():
  owner = np.r_[np.zeros(90), np.ones(30)]
  once = fed_avg(**{**SIZE, "rounds": 1, "every": 1})
  (result,) = learn(once, MODEL, [Task("all", 0, table(owner))], key=KEY)
  mean = lambda p, u: p + 0.75 * u[0, 0] + 0.25 * u[0, 1]
  expected = jax.tree.map(mean, result.state.slots["start"]["params"], result.state.slots["updates"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), result.model.params, expected)


def test_retraining_without_a_client_equals_its_never_having_joined_bit_by_bit():
  after = removed("retrain")
  (never,) = learn(
    method("retrain"), MODEL, [Task("all", 0, poisoned().where(poisoned().column("client") != BAD))], key=KEY
  )
  assert equal(after.state.params, never.state.params) and equal(after.state.slots, never.state.slots)


@pytest.mark.parametrize("removal", ["retrain", "eraser", "ascent"])
def test_the_backdoor_goes_and_the_accuracy_stays(removal):
  assert backdoor(learned(removal).model) > 0.8
  after = removed(removal)
  assert backdoor(after.model) < 0.35 and accuracy(after.model, data()) > 0.85
  assert not any(np.asarray(x)[:, BAD].any() for x in jax.tree.leaves(after.state.slots["updates"]))
  assert after.state.slots["sizes"].tolist() == [30, 30, 0, 30]


def test_removal_costs_less_than_retraining():
  cost = {name: removed(name).cost["gradient_evaluations"] for name in ("retrain", "eraser", "ascent")}
  rows = 90 + 1  # a client without data trains on a stand-in, to no effect
  assert cost["retrain"] == 8 * 2 * rows
  assert cost["eraser"] == 4 * rows  # rounds 2, 4, 6 and 7, one epoch each
  assert cost["ascent"] < cost["retrain"] / 2


def test_calibration_with_the_kept_directions_replays_the_others():
  updates = jax.tree.map(lambda x: x[0], learned().state.slots["updates"])
  again = calibrated(updates, updates)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), again, updates)


def test_messages():
  for options, message in (
    (dict(clients=1), "clients must be >= 2, got 1"),
    (dict(every=3), "every must divide the number of rounds, 8, got 3"),
    (dict(removal="noise"), "removal must be one of retrain, eraser, ascent"),
  ):
    with pytest.raises(ValueError, match=message):
      fed_avg(**{**SIZE, **options})
  start = learned("eraser").state, learned("eraser").refs
  part = ForgetRequest(poisoned()[:1], poisoned()[1:])
  with pytest.raises(ValueError, match="removes whole clients; the request reaches a part of some of \\[0\\]"):
    forget(method("eraser"), MODEL, part, key=KEY, start=start, run=Run())
  with pytest.raises(ValueError, match="fed_avg must learn before it can forget"):
    forget(method("retrain"), MODEL, part, key=KEY)
  with pytest.raises(ValueError, match="the column 'client' must lie in \\[0, 4\\)"):
    list(learn(method("retrain"), MODEL, [Task("all", 0, table(np.full(120, 9)))], key=KEY))
