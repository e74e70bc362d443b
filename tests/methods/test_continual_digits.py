"""What papers promise, on digits in five tasks of two classes, a small network and ten passes."""

from __future__ import annotations

import functools

import jax
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
