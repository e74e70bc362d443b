"""The stability gap (De Lange et al., arXiv:2205.13452) on turned digits: what the ends of tasks hide."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import unlearnjax as uj

pytestmark = pytest.mark.slow
SETTINGS = dict(tx=optax.sgd(0.1), epochs=8, batch_size=32, every=1)


@functools.cache
def method_of(name):
  return {
    "joint": lambda: uj.methods.joint(from_start=False, **SETTINGS),
    "er": lambda: uj.methods.er(capacity=100, **SETTINGS),
    "plain": lambda: uj.methods.sequential(**SETTINGS),
  }[name]()


@functools.cache
def curve_of(name, angle):
  """(accuracies [steps, tasks], the task that was learned then) of three tasks, each turned by a further angle."""
  stream = uj.data.rotated("digits", tasks=3, degrees=(0, angle, 2 * angle))
  fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=10, widths=(64, 64))
  model, method, curves = fn.init(jax.random.key(0)), method_of(name), []
  run = uj.Run(on_history=lambda label, history: curves.append(history))
  state, refs = uj.core.bound(method, fn).init(model, jax.random.key(1))
  watched = jax.tree.map(lambda *x: jnp.stack(x), *(uj.role_batch(task.test) for task in stream))
  list(uj.learn(method, model, stream, key=jax.random.key(1), run=run, start=(state, {**refs, "watch": watched})))
  values = [np.stack([history[f"watch/{t}"] for t in range(3)], 1) for history in curves]
  return np.concatenate(values), np.repeat(np.arange(3), [len(v) for v in values])


def gap_of(curve, task):
  """Accuracy on the first task (when the second comes, at its lowest while that is learned, when it is over)."""
  second = curve[task == 1, 0]
  return curve[task == 0, 0][-1], second.min(), second[-1]


def test_even_with_all_data_old_tasks_drop_at_a_switch_and_recover():
  before, lowest, after = gap_of(*curve_of("joint", 80))
  assert lowest < before - 0.02 and after > lowest + 0.02
  assert after > before - 0.015  # the ends of tasks show next to nothing


def test_the_gap_shrinks_with_the_angle_and_grows_without_the_data():
  m = uj.metrics
  drop = lambda name, angle: (g := gap_of(*curve_of(name, angle)))[0] - g[1]
  assert drop("joint", 10) < drop("joint", 80) < drop("er", 80) < drop("plain", 80)
  worst = {name: m.min_acc(*curve_of(name, 80)) for name in ("joint", "er", "plain")}
  assert worst["plain"] < worst["er"] < worst["joint"]
  for name in worst:
    curve, task = curve_of(name, 80)
    assert worst[name] <= curve[-1, :2].mean() and m.wc_acc(curve, task) < curve[-1].mean()
    ends = np.flatnonzero(np.diff(task, append=3))
    assert m.min_acc(curve[ends], task[ends]) >= worst[name]  # what is looked at less often looks better
  assert m.wf(*curve_of("joint", 80), window=10) < m.wf(*curve_of("plain", 80), window=10)
