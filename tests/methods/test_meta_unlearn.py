"""MetaUnlearn: a learned loss that makes people strangers, by one step on one image of each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_cases import CASES, PEOPLE, people, score, task
from toy_trained import accuracy, data, equal, random_request, trained

from unlearnjax import amortized
from unlearnjax.core import Examples, Task, UnlearnState, descend, forget, learn
from unlearnjax.methods import meta_unlearn
from unlearnjax.methods.classification.meta_unlearn import portraits
from unlearnjax.metrics import mean_average_precision

KEY = jax.random.key(1)
SMALL = dict(width=16, embedding=4, people=3, tx=optax.adam(3e-3))


@pytest.mark.slow
def test_nobody_is_named_and_classes_stay():
  """Rows dealt into people at random, the defaults of a data set without identities."""
  request_rows, held = data(), data(60, seed=1)
  method = meta_unlearn(**SMALL, rate=0.3, epochs=2)
  (start,) = learn(method, trained(), [Task("all", 0, request_rows, held)], key=KEY)
  assert equal(start.model.params, trained().params)
  result = forget(method, trained(), random_request(), key=KEY, start=(start.state, start.refs))
  assert not equal(result.model.params, trained().params)
  assert accuracy(result.model, random_request().retain) > 0.9


def test_a_constant_loss_changes_nothing_and_only_the_support_is_read():
  world = people()
  method = meta_unlearn(**SMALL, rate=0.3, epochs=1, identity="person", identities=24)
  (start,) = learn(method, world.model, [task(world)], key=KEY)
  w = start.state.slots["meta"]
  flat = {**w, "net": {**w["net"], "out": jax.tree.map(jnp.zeros_like, w["net"]["out"])}}
  state = start.state.replace(slots={**start.state.slots, "meta": flat})
  found = forget(method, world.model, world.request, key=KEY, start=(state, start.refs))
  assert equal(found.model.params, world.model.params)
  one = world.request._replace(extra={"support": world.request.forget[:3]})
  two = one._replace(forget=world.request.forget[5:], retain=None)  # no training data are needed
  a, b = (forget(method, world.model, r, key=KEY, start=(start.state, start.refs)) for r in (one, two))
  assert equal(a.model.params, b.model.params)


def test_portraits_are_one_row_a_person():
  source = people().request.forget
  found = portraits(source, "person", 5, KEY)
  assert sorted(found.column("person").tolist()) == [3, 8, 20]
  assert len(portraits(source, None, 5, KEY)) == 5


def test_simulated_requests_have_no_row_twice_and_whole_people():
  who = np.repeat(np.arange(7), 4)
  table = amortized.episodes(who, 10, np.random.default_rng(0), people=2, epochs=3, forget_size=8, validation_size=10)
  assert len(table) == 9
  for row in range(len(table)):
    support, gone, held = (table[row][k] for k in ("support", "forget", "validation"))
    gone = gone[gone >= 0]
    assert len(set(who[support])) == 2 and set(who[gone]) == set(who[support])
    assert len(gone) == 6 and not set(gone) & set(support)
    assert sorted(held) == list(range(10))
  with pytest.raises(ValueError, match="needs 8 people with at least two rows, the data have 7"):
    amortized.episodes(who, 10, np.random.default_rng(0), people=8, epochs=1, forget_size=8, validation_size=1)


def test_unrolled_steps_equal_a_loop_and_their_gradient_finite_differences():
  with jax.enable_x64(True):
    loss = lambda params, batch, view: (view.refs["scale"] * jnp.mean((params["w"] - batch["y"]) ** 4), {})
    step = descend({"train": loss}, optax.sgd(0.05, momentum=0.5))
    start = step.init(UnlearnState.create({"w": jnp.ones(3)}, rng=jax.random.key(0)))
    batches = {"train": {"y": jnp.arange(12.0).reshape(4, 3) / 10}}
    state, info = amortized.unroll(step, start, batches, {"scale": 0.7})
    loop = start
    for i in range(4):
      loop, _ = step.update(loop, jax.tree.map(lambda x, i=i: x[i], batches), {"scale": 0.7})
    np.testing.assert_allclose(state.params["w"], loop.params["w"], rtol=1e-12)
    assert info["loss"].shape == (4,) and int(state.step) == 4
    end = lambda s, remat=False: amortized.unroll(step, start, batches, {"scale": s}, remat=remat)[0].params["w"].sum()
    slope = float(jax.grad(end)(0.7))
    assert slope == pytest.approx(float(end(0.7 + 1e-5) - end(0.7 - 1e-5)) / 2e-5, rel=1e-6)
    assert slope == pytest.approx(float(jax.grad(lambda s: end(s, remat=True))(0.7)), rel=1e-12)


def test_the_gradient_of_the_outer_loss_is_that_of_finite_differences():
  """Through the inner step on a network: d loss(theta - a grad h_w) / d w, one entry of w at a time."""
  with jax.enable_x64(True):
    wide = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)
    params = wide(trained().params)
    fn, rows = trained().fn, data()
    part = lambda s: {
      "inputs": {"x": jnp.asarray(s.column("x"), jnp.float64)}, "y": jnp.asarray(s.column("y")),
      "valid": jnp.ones(len(s), bool),
    }  # fmt: skip
    w = wide({"net": amortized.init_dense_loss(jax.random.key(3), 8 + 2 * 3, 6)})
    inner = descend({"support": amortized.learned_loss(fn, jax.nn.softmax)}, optax.sgd(0.5))
    start = inner.init(UnlearnState.create(params, rng=jax.random.key(0)))
    support = jax.tree.map(lambda x: x[None], part(rows[:4]))

    @jax.jit
    def outer(w):
      after = amortized.unroll(inner, start, {"support": support}, {"meta": w})[0].params
      logits = fn(after, part(rows[4:20])["inputs"]).logits
      return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(16), rows.column("y")[4:20]])

    slope, h = jax.jit(jax.grad(outer))(w), 1e-3  # not shorter: the learned loss reads float32
    for name, place in (("first", (2, 1)), ("out", (3, 0))):
      moved = lambda h, n=name, p=place: {
        "net": {**w["net"], n: {**w["net"][n], "kernel": w["net"][n]["kernel"].at[p].add(h)}}
      }
      want = float(outer(moved(h)) - outer(moved(-h))) / (2 * h)
      assert float(slope["net"][name]["kernel"][place]) == pytest.approx(want, rel=1e-2, abs=1e-9)
      assert want != 0


def test_mean_average_precision():
  rng = np.random.default_rng(0)
  scores, targets = rng.random((30, 4)), rng.integers(0, 2, (30, 4))
  from sklearn.metrics import average_precision_score

  want = np.mean([average_precision_score(targets[:, k], scores[:, k]) for k in range(4)])
  found = mean_average_precision(jnp.asarray(scores, jnp.float32), jnp.asarray(targets))
  assert float(found) == pytest.approx(want, abs=1e-5)
  padded = lambda x, v: jnp.concatenate([jnp.asarray(x, jnp.float32), jnp.full((5, 4), v)])
  valid = jnp.arange(35) < 30
  assert float(mean_average_precision(padded(scores, 2.0), padded(targets, 1.0), valid)) == pytest.approx(
    want, abs=1e-5
  )
  assert float(mean_average_precision(jnp.zeros((2, 3)), jnp.zeros((2, 3)))) == 0


@pytest.mark.slow
def test_attributes_are_served():
  rng, who = np.random.default_rng(0), np.arange(48) // 4
  y = rng.integers(0, 2, (12, 3)).astype(np.float32)[who]
  table = Examples({"x": rng.normal(size=(48, 4)).astype(np.float32), "y": y, "person": who.astype(np.int32)})
  model = PEOPLE.init(jax.random.key(0))
  method = meta_unlearn(**SMALL, labels="attributes", epochs=2, identity="person", identities=12)
  (start,) = learn(method, model, [Task("all", 0, table[:32], table[32:])], key=KEY)
  before, _ = method.bind(PEOPLE).init(model, KEY)
  assert not equal(before.slots["meta"], start.state.slots["meta"])
  assert np.isfinite(np.concatenate([np.ravel(x) for x in jax.tree.leaves(start.state.slots["meta"])])).all()


@pytest.mark.slow
def test_forgotten_people_become_strangers():
  """The loss on the other rows of the people comes near that on people who were never seen, and nothing else moves."""
  world, case = people(), CASES["meta_unlearn"]
  loss = lambda model, source: score(case, model, source)
  method = case.make()
  (start,) = learn(method, world.model, [task(world)], key=KEY)
  result = forget(method, world.model, world.request, key=KEY, start=(start.state, start.refs)).model
  stranger = loss(world.model, world.request.extra["unseen"])
  gap = lambda model: abs(loss(model, world.request.forget) - stranger)
  assert gap(result) < 0.6 * gap(world.model)
  assert loss(result, world.request.retain) < 0.2


def test_messages():
  for options, message in (
    (dict(labels="regression"), "labels must be one of classes, attributes"),
    (dict(identity="person"), "identity and identities belong together"),
    (dict(rows_per_person=1), "rows_per_person must be >= 2"),
    (dict(rate=0.0), "rate must be > 0"),
  ):
    with pytest.raises(ValueError, match=message):
      meta_unlearn(**options)
  world = people()
  with pytest.raises(ValueError, match="must learn before it can forget"):
    forget(meta_unlearn(**SMALL), world.model, world.request, key=KEY)
  with pytest.raises(ValueError, match="never trained on, in task.test"):
    list(learn(meta_unlearn(**SMALL), world.model, [task(world)._replace(test=None)], key=KEY))
  with pytest.raises(ValueError, match=r"identities must lie in \[0, 20\), found 0..23"):
    list(learn(meta_unlearn(**SMALL, identity="person", identities=20), world.model, [task(world)], key=KEY))
