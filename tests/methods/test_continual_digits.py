"""What papers promise, on digits in five tasks of two classes, a small network and ten passes."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest

import unlearnjax as uj

SETTINGS = dict(tx=optax.sgd(0.1), epochs=10, batch_size=16)
pytestmark = pytest.mark.slow


@functools.cache
def streams():
  return {"task": uj.data.task_incremental("digits", tasks=5), "class": uj.data.class_incremental("digits", tasks=5)}


@functools.cache
def figures(scenario, name, **options):
  """(average accuracy, backward transfer, accuracy just after learning)."""
  stream = streams()[scenario]
  fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=stream.num_outputs, widths=(64, 64))
  model = stream.head(fn).init(jax.random.key(0))
  method = getattr(uj.methods, name)(**{**SETTINGS, **options})
  results = uj.learn(method, model, stream, key=jax.random.key(1))
  matrix = uj.metrics.accuracy_matrix((r.model for r in results), stream.tasks)
  m = uj.metrics
  return m.average_accuracy(matrix), m.backward_transfer(matrix), m.learning_accuracy(matrix)


def test_with_a_head_a_task_distillation_forgets_nothing():
  (plain, lost, _), (kept, gained, new) = figures("task", "sequential"), figures("task", "lwf", heads=5)
  scale = 100 if plain > 1 else 1
  assert kept > plain and gained > lost and gained > -0.005 * scale and new > 0.98 * scale


def test_with_one_head_distillation_by_softmax_does_not_help():
  plain, kept = figures("class", "sequential")[0], figures("class", "lwf")[0]
  scale = 100 if plain > 1 else 1
  assert abs(plain - 0.2 * scale) < 0.02 * scale and abs(kept - plain) < 0.03 * scale


def test_a_question_a_class_with_the_old_answers_does_and_an_anchor_more_so():
  free = functools.partial(figures, "class", "rehearsal_free")
  plain, taught, held = free(predictions=0), free(), free(anchor="ewc", strength=2.0)
  scale = 100 if plain[0] > 1 else 1
  assert taught[0] > plain[0] + 0.15 * scale
  assert held[1] > taught[1] > plain[1]  # forgets less, step by step


def test_a_hypernetwork_keeps_its_tasks():
  net = uj.reparam.hypernet(5, hidden=(50, 50), chunk=2000)
  more = dict(tasks=5, net=net, tx=optax.adam(1e-3), epochs=12)
  free, kept = figures("task", "hypernetwork", beta=0.0, **more), figures("task", "hypernetwork", beta=0.01, **more)
  scale = 100 if kept[0] > 1 else 1
  assert kept[0] > 0.95 * scale and kept[1] > free[1] + 0.02 * scale


def _random_labels(tasks):
  """The same images with fresh random labels in every task: nothing to remember, everything to learn anew."""
  x = uj.data.load("digits").train.column("x")[:200]
  for t in range(tasks):
    y = np.random.default_rng(t).integers(0, 10, len(x)).astype(np.int32)
    yield uj.Task(str(t), t, uj.Examples({"x": x, "y": y}), None, tuple(range(10)))


def test_a_network_loses_its_plasticity_and_a_spectral_penalty_keeps_it():
  fn = uj.models.make("mlp", input_shape=(8, 8, 1), num_outputs=10, widths=(64, 64, 64))
  ends = {}
  for weight in (0.0, 1e-3):
    method = uj.methods.spectral_regularization(weight=weight, tx=optax.adam(5e-3), epochs=50, batch_size=50)
    stream = list(_random_labels(10))
    results = uj.learn(method, fn.init(jax.random.key(0)), stream, key=jax.random.key(1))
    right = lambda model, source: np.mean(uj.outputs(model, source)["logits"].argmax(-1) == source.column("y"))
    ends[weight] = [float(right(result.model, task.train)) for result, task in zip(results, stream)]
  assert min(ends[0.0][0], ends[1e-3][0]) > 0.95
  assert np.mean(ends[0.0][-3:]) < 0.5 and np.mean(ends[1e-3][-3:]) > 0.9
