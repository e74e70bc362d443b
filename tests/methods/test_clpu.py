"""CLPU-DER++: the paper's stream of requests, and that what was forgotten left no bit behind."""

from __future__ import annotations

import functools
import re

import jax
import numpy as np
import optax
import pytest
from toy import TOY
from toy_trained import accuracy, data, equal

from unlearnjax.core import Run, Task
from unlearnjax.methods.exact.clpu import clpu
from unlearnjax.serving import Forget, Learn, serve
from unlearnjax.training import Recipe

KEY, MODEL = jax.random.key(5), TOY.init(jax.random.key(0))
METHOD = clpu(
  classes=3,
  remember=lambda task: task.name.startswith("keep"),
  capacity=5,
  task_size=40,
  memory_per_task=10,
  recipe=Recipe(optax.sgd(0.1), epochs=3, batch_size=8),
)
PARTS = [data()[i * 24 : i * 24 + 20 + i] for i in range(5)]


def keep(i):
  return Learn(Task(f"keep{i}", i, PARTS[i]), f"keep{i}")


def try_out(i, rows=None):
  return Learn(Task(f"t{i}", i, PARTS[i] if rows is None else rows), f"t{i}")


def drop(i):
  return Forget(PARTS[i].ids, name=f"f{i}")


def after(stream, method=METHOD):
  with serve(method, MODEL, stream, Run(), key=KEY) as running:
    receipts = list(running)
  return running, receipts


PAPER = (keep(0), try_out(1), try_out(2), keep(3), keep(1), drop(2), try_out(4), drop(4))


@functools.cache
def papers_stream():
  return after(PAPER)


def test_the_stream_of_the_paper_equals_the_one_without_what_was_forgotten():
  running, receipts = papers_stream()
  assert [r.outcome for r in receipts] == ["done"] * 8
  assert receipts[5].guarantee["kind"] == "exact" and receipts[5].cost["gradient_evaluations"] == 0
  pure, _ = after((keep(0), try_out(1), keep(3), keep(1)))
  assert equal(running.state.params, pure.state.params) and equal(running.state.slots, pure.state.slots)
  assert running.state.slots["kind"].tolist() == [2, 2, 0, 2, 0]


def test_temporary_tasks_never_reach_the_main_net():
  running, _ = papers_stream()
  without, _ = after((keep(0), try_out(1), try_out(2), keep(3)))
  alone, _ = after((keep(0), keep(3)))
  assert equal(without.state.params, alone.state.params)
  assert not equal(running.state.params, alone.state.params)  # but a consolidated one does


def test_forgetting_a_part_of_a_task_equals_never_having_had_it():
  gone = PARTS[2].ids[[0, 7, 8]]
  running, receipts = after((keep(0), try_out(2), keep(3), Forget(gone)))
  pure, _ = after((keep(0), try_out(2, PARTS[2].select(np.setdiff1d(PARTS[2].ids, gone))), keep(3)))
  assert equal(running.state.slots, pure.state.slots) and equal(running.state.params, pure.state.params)
  assert receipts[-1].cost["gradient_evaluations"] == 3 * (len(PARTS[2]) - 3)


def test_a_remembered_task_cannot_be_forgotten():
  _, receipts = after((keep(0), drop(0)))
  assert receipts[1].outcome == "failed" and "[0] are remembered for good" in receipts[1].detail


def test_the_memory_holds_the_tasks_logits_and_weighs_tasks_alike():
  state = papers_stream()[0].state
  for i in (0, 1, 3):
    ids = np.asarray(state.slots["memory"][i])
    assert len(set(ids.tolist())) == 10 and np.isin(ids, PARTS[i].ids).all()
  assert (np.asarray(state.slots["memory"])[[2, 4]] == -1).all() and not np.asarray(state.slots["logits"])[[2, 4]].any()


def test_what_is_in_use_answers():
  first, _ = after((keep(0), try_out(1)))
  assert first.model.refs["in_use"].tolist() == [1, 0, 1, 0, 0, 0]
  assert papers_stream()[0].model.refs["in_use"].tolist() == [1, 0, 0, 0, 0, 0]
  assert accuracy(papers_stream()[0].model, data()) > 0.8


def test_replay_keeps_what_sequential_training_forgets():
  by_class = [data().where(data().column("y") == c) for c in range(3)]
  stream = [Learn(Task(f"keep{c}", c, by_class[c]), f"k{c}") for c in range(3)]
  small = dict(classes=3, remember=lambda task: True, capacity=3, task_size=60, memory_per_task=20)
  recipe = Recipe(optax.sgd(0.1), epochs=10, batch_size=8)
  with_memory, _ = after(stream, clpu(**small, recipe=recipe))
  without, _ = after(stream, clpu(**small, recipe=recipe, alpha=0.0, beta=0.0))
  first = by_class[0]
  assert accuracy(with_memory.model, first) > 0.8 and accuracy(with_memory.model, data()) > 0.8
  assert accuracy(with_memory.model, first) > accuracy(without.model, first) + 0.1


def test_messages():
  with pytest.raises(ValueError, match="alpha must be >= 0"):
    clpu(classes=3, alpha=-1.0)
  for task, message in (
    (Task("t", 7, PARTS[0]), "must have an index in \\[0, 5\\)"),
    (Task("t", 0, PARTS[1]), "takes the place or the examples of the tasks \\[0\\]"),
    (Task("t", 1, PARTS[0]), "takes the place or the examples of the tasks \\[0\\]"),
  ):
    _, receipts = after((keep(0), Learn(task)))
    assert receipts[1].outcome == "failed"
    assert re.search(message, receipts[1].detail)
