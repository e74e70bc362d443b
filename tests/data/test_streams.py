"""Streams of tasks: selections of one table, explicit orders, no task identity at test time."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from common_paths import data_dir
from hypothesis import given, settings
from hypothesis import strategies as st

import unlearnjax as uj
from unlearnjax import data

DIGITS = data.load("digits", train_size=200, test_size=100)
EVEN = lambda part: part.replace(coarse=part.column("y") % 2)
PARITY = DIGITS._replace(train=EVEN(DIGITS.train), test=EVEN(DIGITS.test), coarse_classes=("even", "odd"))
SCENARIOS = {
  "class": lambda: data.class_incremental(DIGITS, seed=3),
  "task": lambda: data.task_incremental(DIGITS),
  "domain": lambda: data.domain_incremental(DIGITS),
  "permuted": lambda: data.permuted(DIGITS, tasks=3),
  "rotated": lambda: data.rotated(DIGITS, tasks=3, degrees=90),
  "instances": lambda: data.instances(DIGITS, tasks=3, degrees=30),
  "blurry": lambda: data.blurry(DIGITS, mix=0.3),
  "free": lambda: data.task_free(DIGITS, chunks=7),
  "group": lambda: data.grouped(PARITY, order=("odd", "even")),
  "overlap": lambda: data.overlapping(DIGITS, seed=3),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_stream_is_one_table_that_its_tasks_share_out(scenario):
  stream = SCENARIOS[scenario]()
  assert stream.scenario == scenario and set(SCENARIOS) == set(data.SCENARIOS)
  ids = np.concatenate([t.train.ids for t in stream])
  assert len(np.unique(ids)) == len(ids) == len(stream.train) and set(ids) == set(stream.train.ids)
  assert not set(ids) & set(stream.test.ids)
  for index, task in enumerate(stream):
    assert task.index == index and len(task.train) and len(task.test)
    assert all(task.train.columns[k] is v for k, v in stream.train.columns.items())
    assert all(task.test.columns[k] is v for k, v in stream.test.columns.items())
    assert set(task.train.column("task")) == {index}
    assert set(task.train.column("y")) <= set(range(stream.num_outputs))
    assert not task.classes or set(task.train.column("y")) <= set(task.classes)
    before = [t.train.ids for t in stream.tasks[:index]]
    assert set(task.seen.ids) == set(np.concatenate(before)) if index else task.seen is None
  assert len({t.name for t in stream}) == len(stream)


def test_classes_come_once_and_in_the_order_that_was_asked_for():
  order = (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)
  stream = data.class_incremental(DIGITS, tasks=5, order=order)
  assert sum((t.classes for t in stream), ()) == order
  assert [sorted(set(t.test.column("y").tolist())) for t in stream] == [sorted(t.classes) for t in stream]
  drawn = [data.class_incremental(DIGITS, seed=s) for s in (0, 0, 1)]
  orders = [sum((t.classes for t in s), ()) for s in drawn]
  assert orders[0] == orders[1] != orders[2] and sorted(orders[2]) == list(range(10))


def test_the_table_of_a_split_is_the_table_of_the_data():
  assert data.class_incremental(DIGITS).train.columns["x"] is DIGITS.train.columns["x"]
  domain = data.domain_incremental(DIGITS, tasks=5)
  assert domain.train.columns["x"] is DIGITS.train.columns["x"]
  np.testing.assert_array_equal(domain.train.column("y"), DIGITS.train.column("y") % 2)
  np.testing.assert_array_equal(domain.train.column("class"), DIGITS.train.column("y"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_task_is_nowhere_among_the_test_inputs(scenario):
  stream = SCENARIOS[scenario]()
  part = uj.role_batch(stream.tasks[0].test)
  known = scenario in ("task", "overlap")
  assert ("task" in part["inputs"]) == known
  fn = stream.head(uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=stream.num_outputs, widths=(8,)))
  model = fn.init(jax.random.key(0))
  order = np.random.default_rng(0).permutation(len(stream.test))
  logits = uj.outputs(model, stream.test)["logits"]
  np.testing.assert_allclose(uj.outputs(model, stream.test[order])["logits"], logits[order], rtol=1e-5, atol=1e-5)
  if known:  # with another task another head answers
    tasks, heads = stream.test.column("task"), np.array([t.classes for t in stream])
    later = ((tasks + 1) % len(heads)).astype(np.int32)
    other = uj.outputs(model, stream.test.replace(task=later))["logits"].argmax(-1)
    assert (logits.argmax(-1)[:, None] == heads[tasks]).any(-1).all()
    assert (other[:, None] == heads[later]).any(-1).all()


@pytest.mark.parametrize("scenario", ["permuted", "rotated", "instances"])
def test_the_task_may_be_told_where_only_inputs_change(scenario):
  stream = data.make_stream(DIGITS, scenario, tasks=3, known_task=True)
  assert [set(task.test.column("task").tolist()) for task in stream] == [{0}, {1}, {2}]


def test_permutations_are_permutations_and_the_first_is_none():
  stream = data.permuted(DIGITS, tasks=3, seed=1)
  x = [t.train.column("x").reshape(200, -1) for t in stream]
  np.testing.assert_array_equal(x[0], DIGITS.train.column("x").reshape(200, -1))
  assert (x[1] != x[0]).any() and (x[1] != x[2]).any()
  np.testing.assert_array_equal(np.sort(x[1], 1), np.sort(x[0], 1))
  np.testing.assert_array_equal(stream.tasks[2].train.column("origin"), DIGITS.train.ids)
  again = data.permuted(DIGITS, tasks=3, seed=1).tasks[1].train.column("x")
  np.testing.assert_array_equal(again.reshape(200, -1), x[1])
  test = stream.tasks[1].test.column("x").reshape(100, -1)
  order = np.argsort(np.argsort(x[0][0] + 1e-6 * np.arange(64)))
  assert order.shape == (64,) and np.array_equal(np.sort(test[0]), np.sort(DIGITS.test.column("x")[0].ravel()))


@settings(max_examples=10, deadline=None)
@given(quarter=st.integers(0, 3), size=st.integers(2, 6))
def test_quarter_turns_are_exact(quarter, size):
  x = np.random.default_rng(size).random((2, size, size, 1)).astype(np.float32)
  np.testing.assert_allclose(data.rotate(x, 90 * quarter), np.rot90(x, quarter, (1, 2)), atol=1e-6)


def test_a_turn_and_back_stays_near_and_corners_are_filled():
  y, x = np.mgrid[:15, :15] - 7.0
  image = np.exp(-(((x - 2) ** 2) + y**2) / 6)[None, ..., None].astype(np.float32)
  back = data.rotate(data.rotate(image, 30), -30)
  assert np.abs(back - image).max() < 0.1
  assert data.rotate(np.ones((1, 8, 8, 1), np.float32), 45, fill=-1.0)[0, 0, 0, 0] == -1.0


def test_new_instances_come_in_growing_shares_of_every_class_and_turned():
  stream = data.instances(DIGITS, tasks=3, growth=2.0, degrees=(0, 90, 180), seed=1)
  origins = [task.train.column("origin") for task in stream]
  assert sorted(np.concatenate(origins)) == sorted(DIGITS.train.ids)  # each row in one task
  count = np.array([np.bincount(task.train.column("y"), minlength=10) for task in stream])
  want = np.bincount(DIGITS.train.column("y")) * np.array([[1], [2], [4]]) / 7
  assert np.abs(count - want).max() <= 1
  x = dict(zip(DIGITS.train.ids, DIGITS.train.column("x")))
  np.testing.assert_allclose(stream.tasks[1].train.column("x")[0], np.rot90(x[origins[1][0]]), atol=1e-6)
  assert [len(task.test) for task in stream] == [100] * 3
  other = data.instances(DIGITS, tasks=3, seed=2).tasks[0].train.column("origin")
  assert sorted(other) != sorted(data.instances(DIGITS, tasks=3, seed=1).tasks[0].train.column("origin"))
  with pytest.raises(ValueError, match="rows of class '0' are too few for 9 tasks that grow by 2"):
    data.instances(DIGITS, tasks=9, growth=2)


def test_blur_keeps_sizes_and_exchanges_the_share():
  sharp, blurred = data.blurry(DIGITS, mix=0.0), data.blurry(DIGITS, mix=0.4, seed=2)
  assert [len(t.train) for t in sharp] == [len(t.train) for t in blurred]
  own = [np.isin(t.train.column("y"), (2 * t.index, 2 * t.index + 1)).mean() for t in blurred]
  assert all(0.6 <= share < 0.8 for share in own)
  np.testing.assert_array_equal(sharp.train.column("task"), DIGITS.train.column("y") // 2)


def test_windows_overlap_and_deal_out_what_they_share():
  stream = data.overlapping(DIGITS, window=4, stride=2, order=(9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
  held = [sorted(set(t.train.column("class").tolist())) for t in stream]
  assert held == [[6, 7, 8, 9], [4, 5, 6, 7], [2, 3, 4, 5], [0, 1, 2, 3]]
  for task in stream:
    np.testing.assert_array_equal(  # labels count from the first class of the window
      task.train.column("y"), 4 * task.index + 9 - 2 * task.index - task.train.column("class")
    )
  counts = [np.bincount(t.train.column("class"), minlength=10) for t in stream]
  assert counts[0][9] == 20 and counts[0][7] == counts[1][7] == 10
  same = data.make_stream(DIGITS, "overlap", tasks=4)
  assert [len(t.classes) for t in same] == [4] * 4 and same.num_outputs == 16


def test_groups_are_tasks_in_the_order_that_was_asked_for():
  stream = data.grouped(PARITY, order=("odd", "even"))
  assert [t.name for t in stream] == ["0_odd", "1_even"] and stream.num_outputs == 10
  assert [t.classes for t in stream] == [(1, 3, 5, 7, 9), (0, 2, 4, 6, 8)]
  assert len(data.grouped(PARITY, tasks=1).tasks[0].train) == 200
  assert data.make_stream(PARITY, "group").train.columns["x"] is PARITY.train.columns["x"]


def test_without_width_a_task_free_stream_is_sorted():
  stream = data.task_free(DIGITS, chunks=10, width=0.0)
  assert [set(t.train.column("y").tolist()) for t in stream] == [{c} for c in range(10)]
  wide = data.task_free(DIGITS, chunks=10, width=2.0)
  assert np.mean([len(set(t.train.column("y").tolist())) for t in wide]) > 3


@pytest.mark.parametrize(
  "use, message",
  [
    (lambda: data.class_incremental(DIGITS, tasks=3), "tasks must divide the 10 classes of 'digits', got 3"),
    (lambda: data.class_incremental(DIGITS, tasks=20), "tasks must divide the 10 classes of 'digits', got 20"),
    (lambda: data.class_incremental(DIGITS, tasks=0), "tasks must divide"),
    (lambda: data.class_incremental(DIGITS, order=[0, 1, 2, 3, 4, 5, 6, 7, 8, 8]), r"but it repeats \[8\]"),
    (lambda: data.class_incremental(DIGITS, order=[0, 1]), "must name all 10 classes"),
    (lambda: data.class_incremental(DIGITS, order=range(10), seed=0), "exclude each other"),
    (lambda: data.class_incremental(DIGITS, order=[10, *range(9)]), r"class must be in \[0, 10\), got 10"),
    (lambda: data.class_incremental("diabetes"), "'diabetes' is for regression"),
    (lambda: data.rotated(DIGITS, tasks=2, degrees=(1, 2, 3)), "one angle a task, got 3 for 2"),
    (lambda: data.permuted(DIGITS, tasks=0), "tasks must be > 0"),
    (lambda: data.make_stream(DIGITS, "nope"), "scenario must be one of class, task, domain"),
    (
      lambda: data.make_stream(DIGITS, "permuted", degrees=90.0),
      "degrees belongs to the scenarios 'rotated' and 'instances'",
    ),
    (
      lambda: data.make_stream(DIGITS, "class", known_task=True),
      "known_task belongs to the scenarios 'rotated', 'instances' and",
    ),
    (lambda: data.blurry(DIGITS, mix=1.0), r"mix must be in \[0, 1\)"),
    (lambda: data.overlapping(DIGITS, window=5, stride=4), "must end with the last of the 10 classes"),
    (lambda: data.overlapping(DIGITS, window=2, stride=3), r"stride must be in \[1, window=2\].* got 3"),
    (lambda: data.make_stream(DIGITS, "overlap", tasks=5), r"tasks \+ 1 must divide the 10 classes .* tasks=5"),
    (lambda: data.grouped(DIGITS), "grouped needs a column 'coarse'"),
    (lambda: data.grouped(PARITY, tasks=3), "tasks must divide the 2 groups"),
    (lambda: data.grouped(PARITY, order=("odd",)), r"must name all 2 groups, but it lacks \[0\]"),
    (lambda: data.split(DIGITS, scenario="permuted"), "scenario must be one of class, task, domain"),
    (lambda: uj.models.multi_head(None, ((0,), ())), "heads must hold the classes of each task"),
  ],
)
def test_what_does_not_fit_is_refused(use, message):
  with pytest.raises(ValueError, match=message):
    use()


def test_characters_of_many_hands():
  data_dir("omniglot_small")
  letters = data.load("omniglot_small")
  assert letters.input_shape == (35, 35, 1) and letters.num_classes == 242
  assert len(letters.train) == 242 * 16 and len(letters.test) == 242 * 4
  assert np.bincount(letters.test.column("y")).tolist() == [4] * 242
  assert 0.05 < letters.train.column("x").mean() < 0.11 and letters.train.column("x").max() == 1
  assert [len(t.classes) for t in data.class_incremental(letters, tasks=11)] == [22] * 11


def test_a_model_with_heads_asks_for_the_task():
  fn = data.task_incremental(DIGITS).head(uj.models.make("mlp", input_shape=(8, 8, 1), num_outputs=10, widths=(8,)))
  with pytest.raises(ValueError, match=r"needs inputs\['task'\], got \['x'\]"):
    fn.init(jax.random.key(0))({"x": np.zeros((1, 8, 8, 1), np.float32)})
