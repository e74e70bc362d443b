"""The ideal continual learner: nothing is forgotten, whatever the order, and impossible tasks are refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import curvature, methods
from unlearnjax.core import Examples, Model, Outputs, Task, learn
from unlearnjax.memory import all_solutions, narrowed, span_of


def stream(seed=0, tasks=5, rows=12, p=80, k=2):
  rng = np.random.default_rng(seed)
  truth = rng.normal(size=(p, k))
  return [(x, x @ truth) for x in rng.normal(size=(tasks, rows, p))]


def learned(tasks, p=80, k=2):
  found = all_solutions(p, k)
  for x, y in tasks:
    found = narrowed(found, x, y)
  return found


def test_old_tasks_stay_learned_and_the_point_is_that_of_joint_training():
  tasks = stream()
  found = learned(tasks)
  assert max(np.abs(x @ found.point - y).max() for x, y in tasks) < 1e-10
  x, y = (np.concatenate(part) for part in zip(*tasks))
  np.testing.assert_allclose(found.point, np.linalg.pinv(x) @ y, atol=1e-8)
  assert len(found.span) == np.linalg.matrix_rank(x) == 60
  np.testing.assert_allclose(found.span @ found.span.T, np.eye(60), atol=1e-12)
  plain = np.zeros((80, 2))  # what the same steps forget without the span
  for a, b in tasks:
    plain += np.linalg.pinv(a) @ (b - a @ plain)
  assert np.abs(tasks[0][0] @ plain - tasks[0][1]).max() > 0.1


def test_order_does_not_matter_and_repetition_adds_nothing():
  tasks = stream(1, tasks=3)
  a, b = learned(tasks), learned(tasks[::-1])
  np.testing.assert_allclose(a.point, b.point, atol=1e-9)
  np.testing.assert_allclose(a.span.T @ a.span, b.span.T @ b.span, atol=1e-9)
  again = narrowed(a, *tasks[0])
  assert again.span.shape == a.span.shape
  np.testing.assert_allclose(again.point, a.point, atol=1e-10)


def test_tasks_without_a_common_minimiser():
  rng = np.random.default_rng(2)
  tasks = [(rng.normal(size=(6, 10)), rng.normal(size=6)) for _ in range(2)]  # 12 noisy equations, 10 unknowns
  first = narrowed(all_solutions(10), *tasks[0])
  with pytest.raises(ValueError, match="no common minimiser without error: .* is left on the new one"):
    narrowed(first, *tasks[1])
  relaxed = narrowed(first, *tasks[1], relax=True)
  assert relaxed.residual > 0.01 and len(relaxed.span) == 10
  assert np.abs(tasks[0][0] @ relaxed.point[:, 0] - tasks[0][1]).max() < 1e-10
  with pytest.raises(ValueError, match=r"x and y must be \[n, 10\] and \[n, 1\]"):
    narrowed(first, np.ones((3, 9)), np.ones(3))


def test_the_span_of_subspaces_is_that_of_all_data():
  rng = np.random.default_rng(3)
  parts = [rng.normal(size=(20, 3)) @ rng.normal(size=(3, 15)) for _ in range(3)]
  span = np.zeros((0, 15))
  for part in parts:
    old, span = span, span_of(span, part)
    np.testing.assert_array_equal(span[: len(old)], old)
  assert len(span) == 9
  assert max(np.abs(part - part @ span.T @ span).max() for part in parts) < 1e-10  # training error of every task
  noisy = parts[0] + 1e-6 * rng.normal(size=(20, 15))
  assert len(span_of(np.zeros((0, 15)), noisy, tolerance=1e-3)) == 3


def linear(params, inputs, *, state=(), **_):
  return Outputs(inputs["x"] @ params["w"] + params["b"], {}, state)


def tasks_of(pairs, dtype):
  return [Task(str(i), i, Examples({"x": x.astype(dtype), "y": y.astype(dtype)})) for i, (x, y) in enumerate(pairs)]


def test_the_method_forgets_nothing_in_double_precision():
  pairs = stream(4, tasks=3, rows=5, p=20)
  with jax.enable_x64(True):
    model = Model({"w": jnp.ones((20, 2)), "b": jnp.zeros(2)}, fn=linear)
    *_, last = learn(methods.ideal(capacity=40, slack=1e-9), model, tasks_of(pairs, np.float64), key=jax.random.key(0))
    params = jax.tree.map(np.asarray, last.state.params)
  assert params["w"].dtype == np.float64
  for x, y in pairs:
    assert np.abs(x @ params["w"] + params["b"] - y).max() < 1e-10
  assert int(last.state.slots["rank"]) == 30 and last.cost["gradient_evaluations"] == 10


def test_labels_of_a_linearised_network_and_what_is_refused():
  from toy import ToyFn, toy_data

  net = ToyFn(classes=2)
  model = net.init(jax.random.key(1))
  data = toy_data(24, classes=2)
  tasks = [Task(str(i), i, data[4 * i : 4 * i + 4]) for i in range(3)]
  flat = curvature.linearize(net, model.params)
  flat = flat if isinstance(flat, Model) else model.replace(fn=flat)
  *_, last = learn(methods.ideal(capacity=40, slack=1e-3), flat, tasks, key=jax.random.key(0))
  for task in tasks:
    said = last.model({"x": task.train.column("x")}).logits
    np.testing.assert_allclose(said, np.eye(2)[task.train.column("y")], atol=2e-3)
  with pytest.raises(ValueError, match="needs a model that is linear in its weights"):
    list(learn(methods.ideal(capacity=40, slack=1.0), model, tasks, key=jax.random.key(0)))
  with pytest.raises(ValueError, match="task '1' needs capacity=16 rows, and ideal was made for 10"):
    list(learn(methods.ideal(capacity=10, slack=1e-3), flat, tasks, key=jax.random.key(0)))
