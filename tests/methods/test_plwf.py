"""PLwF: many teachers, and a projection that only fires on conflict."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import ToyFn, toy_data
from toy_net import role, view

import unlearnjax as uj
from unlearnjax import methods, objectives
from unlearnjax.core import Outputs, Task, learn
from unlearnjax.methods.continual.plwf import many_teachers, without_conflict

KEY, FN, DATA = jax.random.key(0), ToyFn(classes=4), toy_data(60, classes=4)
SMALL = dict(tx=optax.sgd(0.1), batch_size=8, epochs=2)


def tasks(count=2):
  y = DATA.column("y")
  parts = [DATA.where(y == i) for i in range(count)]
  return [Task(str(i), i, part, part, (i,)) for i, part in enumerate(parts)]


def test_with_one_earlier_task_it_is_lwf():
  ours = list(learn(methods.plwf(project=False, tasks=3, **SMALL), FN.init(KEY), tasks(), key=KEY))
  theirs = list(learn(methods.lwf(**SMALL), FN.init(KEY), tasks(), key=KEY))
  for a, b in zip(ours, theirs):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.state.params, b.state.params)
  known = np.asarray(ours[-1].refs["known"])
  assert known.sum(1).tolist() == [1, 2, 0]
  with pytest.raises(ValueError, match="plwf was made for tasks=1 tasks, but task '1' is number 2"):
    list(learn(methods.plwf(tasks=1, **SMALL), FN.init(KEY), tasks(), key=KEY))


@pytest.mark.slow
def test_with_a_head_a_task_it_is_lwf_too():
  fn = uj.models.multi_head(ToyFn(classes=4), ((0,), (1, 2), (3,)))
  y = DATA.column("y")
  place = np.array([0, 1, 1, 2], np.int32)[y]
  table = DATA.replace(task=place)
  stream = [Task(str(t), t, table.where(place == t), None, ((0,), (1, 2), (3,))[t]) for t in range(3)]
  ours = methods.plwf(project=False, heads=3, tasks=3, **SMALL)
  theirs = methods.lwf(heads=3, **SMALL)
  first, second = ([*learn(m, fn.init(KEY), stream[:2], key=KEY)][-1] for m in (ours, theirs))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), first.state.params, second.state.params)


def test_every_old_head_is_held_by_the_teachers_that_know_it():
  wide = uj.models.multi_head(lambda p, inputs, **_: Outputs(inputs["x"] * p["w"]), ((0, 1), (2, 3)))
  batch = role(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32), y=np.zeros(5, np.int32))
  batch["inputs"]["task"] = jnp.ones(5, jnp.int32)
  refs = {"teachers": {"params": {"w": jnp.ones((2, 4))}}, "known": jnp.ones((2, 4), bool), "task": jnp.asarray(2)}
  slope = lambda **s: jax.grad(
    lambda w: many_teachers(wide, 2.0, 2, **s)({"w": w}, batch, view(refs=refs))[0]
  )(jnp.array([2.0, 1.0, 2.0, 1.0]))  # fmt: skip
  assert (np.abs(slope()) > 1e-4).all() and (np.abs(slope(newest=True)) > 1e-4).all()
  np.testing.assert_allclose(slope()[:2], 2 * slope(newest=True)[:2], rtol=1e-4)  # two teachers know the first head
  np.testing.assert_allclose(slope()[2:], slope(newest=True)[2:], rtol=1e-4)


def test_equal_teachers_are_one_and_places_without_a_teacher_do_not_count():
  fn = lambda params, inputs, **_: Outputs(inputs["x"] * params["w"])
  batch = role(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32), y=np.zeros(5, np.int32))
  student, old = {"w": jnp.array([1.0, 2.0, 0.5, 1.0])}, jnp.array([2.0, 1.0, 1.0, 3.0])
  classes = jnp.array([True, True, True, False])
  refs = {"teacher": {"params": {"w": old}}, "old": classes}
  want = objectives.retained(fn, temperature=2.0)(student, batch, view(refs=refs))[0]
  for count in (1, 2):
    there = (jnp.arange(3) < count)[:, None]
    many = {
      "teachers": {"params": {"w": jnp.where(there, old, 0.0)}},
      "known": classes & there,
      "task": jnp.asarray(count),
    }
    got = many_teachers(fn, 2.0)(student, batch, view(refs=many))[0]
    assert float(got) == pytest.approx(float(want), rel=1e-5)


def test_the_projection_fires_only_on_conflict_and_leaves_none():
  rng = np.random.default_rng(1)
  for _ in range(20):
    p, s = (jnp.asarray(rng.normal(size=6), jnp.float32) for _ in range(2))
    got = without_conflict().update({"current": p, "past": s}, (), None)[0]
    new = got - s
    if float(p @ s) >= 0:
      np.testing.assert_allclose(new, p, atol=1e-6)
    else:
      assert abs(float(new @ s)) < 1e-4 and float(got @ s) > 0


@pytest.mark.slow
def test_on_rotated_digits_the_first_task_is_remembered_better_than_by_lwf():
  stream = uj.data.make_stream(uj.data.load("digits"), "rotated", tasks=5, seed=0)
  fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=10, widths=(64, 64))
  settings = dict(tx=optax.sgd(0.1), epochs=3, batch_size=10)
  first = {}
  for name, method in (("lwf", methods.lwf(**settings)), ("plwf", methods.plwf(tasks=5, **settings))):
    *_, last = learn(method, fn.init(jax.random.key(0)), stream, key=jax.random.key(1))
    first[name] = uj.metrics.accuracy_matrix([last], stream.tasks[:1])[0, 0]
  assert first["plwf"] > first["lwf"] + 0.1  # what it pays with is the later tasks
