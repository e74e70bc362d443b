"""FPF and k-FPF: only the chosen modules are repaired, from the buffer alone."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from toy import ToyFn, toy_data

import unlearnjax as uj
from unlearnjax import methods, metrics
from unlearnjax.core import Task, learn

KEY, FN, DATA = jax.random.key(0), ToyFn(classes=4), toy_data(80, classes=4)
SMALL = dict(tx=optax.sgd(0.1), batch_size=8, epochs=4)


def tasks():
  y = DATA.column("y")
  parts = [DATA.where(y // 2 == i) for i in range(2)]
  return [Task(str(i), i, part, part, (2 * i, 2 * i + 1)) for i, part in enumerate(parts)]


@functools.cache
def run(**options):
  method = methods.fpf(modules="^head", capacity=20, size=8, **{**SMALL, **options})
  return list(learn(method, FN.init(KEY), tasks(), key=KEY))


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_rest_stays_and_training_goes_on_from_what_was_not_repaired():
  plain, repaired = list(learn(methods.sequential(**SMALL), FN.init(KEY), tasks(), key=KEY)), run(steps=30)
  for a, b in zip(plain, repaired):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.state.params, b.state.params)
    same(b.model.params["body"], b.state.params["body"])
    assert np.abs(np.asarray(b.model.params["head"]["kernel"] - b.state.params["head"]["kernel"])).max() > 1e-3
  right = lambda found: metrics.accuracy_matrix([found], tasks())[0].mean()
  assert right(repaired[-1]) > right(plain[-1]) + 0.2
  assert repaired[-1].cost["gradient_evaluations"] == plain[-1].cost["gradient_evaluations"] + 30 * 8


@pytest.mark.slow
def test_an_interval_as_long_as_the_stream_is_one_repair_at_its_end():
  length = 2 * 4 * 5
  once, often = run(steps=30, interval=length), run(steps=30, interval=7)
  end = run(steps=30)[-1]
  same(once[0].state.params, run(steps=30)[0].state.params)  # no repair before it is due
  same(once[-1].state.params["body"], end.state.params["body"])
  same(once[-1].state.memory, end.state.memory)
  move = lambda found: np.asarray(found.model.params["head"]["kernel"])
  assert np.abs(move(once[-1]) - move(end)).max() < 0.5 * np.abs(move(end) - end.state.params["head"]["kernel"]).max()
  read = [found.cost["gradient_evaluations"] for found in often]
  assert read[0] == 160 + 2 * 30 * 8 and read[1] == 160 + 3 * 30 * 8


def test_no_steps_change_nothing_and_bad_modules_are_named():
  for found in run(steps=0):
    same(found.model.params, found.state.params)
  with pytest.raises(ValueError, match="pattern 'nothing' matches no parameter"):
    list(learn(methods.fpf(modules="nothing", **SMALL), FN.init(KEY), tasks(), key=KEY))


def test_drift_is_linear_in_the_change_and_not_in_the_size():
  rng = np.random.default_rng(0)
  old = {"a": {"w": rng.normal(size=(4, 3))}, "frozen": {"w": np.ones(3)}}
  new = {"a": {"w": old["a"]["w"] + (step := rng.normal(size=(4, 3)))}, "frozen": {"w": np.ones(3)}}
  drift = metrics.module_drift(old, new)
  assert drift == {"a": pytest.approx(np.abs(step).mean()), "frozen": 0.0}
  twice = {"a": {"w": old["a"]["w"] + 2 * step}, "frozen": {"w": np.ones(3)}}
  assert metrics.module_drift(old, twice)["a"] == pytest.approx(2 * drift["a"])
  double = lambda tree: {"a": {"w": np.concatenate([tree["a"]["w"]] * 2)}, "frozen": tree["frozen"]}
  assert metrics.module_drift(double(old), double(new)) == pytest.approx(drift)
  assert list(metrics.switch_sensitivity({"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 1.0})) == ["a", "b"]
  with pytest.raises(ValueError, match="must name the same modules"):
    metrics.switch_sensitivity({"a": 1.0}, {"b": 1.0})


@pytest.mark.slow
def test_on_digits_the_last_layer_is_what_to_repair():
  stream = uj.data.class_incremental("digits", tasks=5)
  fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=10, widths=(64, 64))
  model, found = fn.init(jax.random.key(0)), {}
  for name, modules in (("last", "^head"), ("first", "^blocks/0")):
    method = methods.fpf(modules=modules, capacity=100, size=100, steps=200, epochs=5, batch_size=10)
    *_, last = learn(method, model, stream, key=jax.random.key(1))
    found[name] = metrics.accuracy_matrix([last], stream)[0].mean()
  plain = metrics.accuracy_matrix([last.model.replace(params=last.state.params)], stream)[0].mean()
  assert plain < 0.25 and found["last"] > 0.6 and found["last"] > found["first"]
