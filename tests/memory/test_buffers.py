"""Memories keep what they promise, in static shapes, under jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnjax import memory


def batch(ids, valid=None, **columns):
  ids = jnp.asarray(ids, jnp.int32)
  valid = jnp.ones(ids.shape, bool) if valid is None else jnp.asarray(valid, bool)
  return {"inputs": {"x": ids[:, None] * 1.0}, "id": ids, "valid": valid, **columns}


def check_whole(rows):
  """Columns of one row belong together."""
  ok = np.asarray(rows["valid"])
  np.testing.assert_array_equal(np.asarray(rows["inputs"]["x"])[ok][:, 0], np.asarray(rows["id"])[ok])


def kept_ids(tree):
  rows = tree["rows"]
  return np.asarray(rows["id"])[np.asarray(rows["valid"])].ravel()


RESERVOIR = memory.reservoir(10)
ADD = jax.jit(RESERVOIR.add)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), batches=st.integers(1, 8))
def test_a_reservoir_holds_different_examples_of_those_it_saw(seed, batches):
  tree = RESERVOIR.init(batch(np.zeros(4)))
  rng, seen = np.random.default_rng(seed), []
  for b in range(batches):
    valid = rng.random(4) < 0.7
    ids = np.arange(4) + 4 * b + 1
    seen += ids[valid].tolist()
    tree = ADD(tree, batch(ids, valid), jax.random.key(seed + b))
  held = kept_ids(tree)
  assert len(held) == min(len(seen), 10) == len(set(held.tolist())) and set(held) <= set(seen)
  assert int(tree["added"]) == len(seen)
  check_whole(tree["rows"])


def test_a_reservoir_keeps_every_example_with_equal_probability():
  def once(key):
    tree = RESERVOIR.init(batch(np.zeros(6)))
    for b in range(5):
      tree = RESERVOIR.add(tree, batch(np.arange(6) + 6 * b), jax.random.fold_in(key, b))
    return jnp.zeros(30).at[tree["rows"]["id"]].add(1.0)

  runs = 3000
  counts = np.asarray(jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(0), runs)).sum(0))
  expected, spread = runs / 3, np.sqrt(runs / 3 * 2 / 3)
  assert np.abs(counts - expected).max() < 4 * spread


def test_reading_draws_different_valid_rows():
  tree = ADD(RESERVOIR.init(batch(np.zeros(4))), batch(np.arange(1, 5), [True, True, True, False]), jax.random.key(0))
  read = jax.jit(RESERVOIR.read, static_argnums=2)(tree, jax.random.key(1), 5)
  assert int(read["valid"].sum()) == 3
  assert sorted(np.asarray(read["id"]).tolist()) == [-1, -1, 1, 2, 3]
  draws = np.concatenate([np.asarray(RESERVOIR.read(tree, jax.random.key(i), 1)["id"]) for i in range(60)])
  assert set(draws.tolist()) == {1, 2, 3}


def test_a_ring_keeps_the_last_of_every_group():
  kept = memory.ring(3, groups=2)
  add, tree = jax.jit(kept.add), kept.init(batch(np.zeros(5), task=jnp.zeros(5, jnp.int32)))
  group = np.array([0, 1, 0, 0, 1])
  want = {0: [], 1: []}
  for b in range(4):
    ids, valid = np.arange(5) + 5 * b, np.array([True, True, b != 2, True, True])
    for i, g, ok in zip(ids, group, valid):
      if ok:
        want[g].append(i)
    tree = add(tree, batch(ids, valid, task=jnp.asarray(group, jnp.int32)), jax.random.key(b))
  for g in (0, 1):
    assert sorted(np.asarray(tree["rows"]["id"][g]).tolist()) == sorted(want[g][-3:])
  read = memory.stacked(kept).read(tree, jax.random.key(0), 2)
  assert read["id"].shape == (2, 2) and bool(read["valid"].all())
  assert set(np.asarray(read["id"][0]).tolist()) <= set(want[0][-3:])


def test_the_task_may_stand_among_the_inputs():
  kept = memory.ring(2, groups=3)
  rows = batch(np.arange(2))
  rows["inputs"]["task"] = jnp.array([2, 0])
  tree = kept.add(kept.init(rows), rows, jax.random.key(0))
  assert np.asarray(tree["rows"]["valid"]).sum(1).tolist() == [1, 0, 1]


def test_balance_is_greedy_and_fair_in_the_end():
  kept = memory.balanced(12, 4)
  add, tree, rng = (
    jax.jit(kept.add),
    kept.init(batch(np.zeros(20), y=jnp.zeros(20, jnp.int32))),
    np.random.default_rng(0),
  )
  for label in range(4):
    ids = np.arange(20) + 20 * label
    tree = add(tree, batch(ids, y=jnp.full(20, label, jnp.int32)), jax.random.key(label))
    counts = np.bincount(np.asarray(tree["label"]), minlength=4)
    assert counts.sum() == 12 and counts[: label + 1].tolist() == [12 // (label + 1)] * (label + 1)
  check_whole(tree["rows"])
  np.testing.assert_array_equal(np.asarray(tree["rows"]["y"]), np.asarray(tree["label"]))
  before = kept_ids(tree)
  again = add(tree, batch(np.arange(20) + 100, y=jnp.asarray(rng.integers(0, 4, 20), jnp.int32)), jax.random.key(9))
  np.testing.assert_array_equal(kept_ids(again), before)  # all classes are full: nothing moves


def test_herding_agrees_with_the_reference():
  z = golden("pycil_herding")
  x, y = z["in_X"], z["in_Y"]
  phi = np.tanh(x @ z["in_W"].T + z["in_b"])
  unit = phi / (np.linalg.norm(phi, axis=1, keepdims=True) + 1e-8)
  order = np.concatenate([np.asarray(memory.herd(jnp.asarray(unit), jnp.asarray(y == c), 10)) for c in range(3)])
  np.testing.assert_array_equal(order, z["out_order"])
  means = np.stack([unit[order[10 * c : 10 * c + 10]].mean(0) for c in range(3)])
  means /= np.linalg.norm(means, axis=1, keepdims=True)
  np.testing.assert_allclose(means, z["out_class_means"], atol=1e-6)


def test_herding_follows_the_mean_and_lists_are_nested():
  rng = np.random.default_rng(0)
  phi = rng.normal(size=(30, 4)).astype(np.float32)
  few, all_ = (np.asarray(memory.herd(jnp.asarray(phi), jnp.ones(30, bool), n)) for n in (7, 30))
  np.testing.assert_array_equal(few, all_[:7])
  assert sorted(all_.tolist()) == list(range(30))
  mean = phi.mean(0)
  random = np.mean([np.linalg.norm(phi[rng.permutation(30)[:7]].mean(0) - mean) for _ in range(50)])
  assert np.linalg.norm(phi[few].mean(0) - mean) < 0.3 * random


def test_exemplars_of_old_classes_are_cut_short_in_their_order():
  kept = memory.herding(6, 3)
  rng = np.random.default_rng(1)
  give = lambda label, start: batch(
    np.arange(8) + start, y=jnp.full(8, label, jnp.int32), features=jnp.asarray(rng.normal(size=(8, 3)), jnp.float32)
  )
  example = {k: v for k, v in give(0, 0).items() if k != "features"}
  add, tree = jax.jit(kept.add), kept.init(example)
  lists = []
  for label in range(3):
    tree = add(tree, give(label, 8 * label), jax.random.key(0))
    lists.append([np.asarray(tree["rows"]["id"])[np.asarray(tree["label"]) == c].tolist() for c in range(label + 1)])
  assert [[len(ids) for ids in step] for step in lists] == [[6], [3, 3], [2, 2, 2]]
  assert lists[0][0][:3] == lists[1][0] and lists[1][0][:2] == lists[2][0] and lists[1][1][:2] == lists[2][1]
  check_whole(tree["rows"])
  assert int(tree["rows"]["valid"].sum()) == 6


def test_a_memory_saves_and_loads(tmp_path):
  from unlearnjax import checkpoint

  tree = ADD(RESERVOIR.init(batch(np.zeros(4))), batch(np.arange(4)), jax.random.key(0))
  checkpoint.save_tree(tmp_path / "m", tree, {})
  found, _ = checkpoint.load_tree(tmp_path / "m")
  jax.tree.map(np.testing.assert_array_equal, found, tree)


@pytest.mark.parametrize(
  "use, message",
  [
    (lambda: memory.reservoir(0), "capacity must be > 0"),
    (lambda: memory.ring(2, groups=0), "groups must be > 0"),
    (lambda: RESERVOIR.init({"y": jnp.zeros(1)}), "with the column 'valid'"),
    (lambda: RESERVOIR.read(RESERVOIR.init(batch([0])), jax.random.key(0), 11), r"size must be in \[1, 10\]"),
    (
      lambda: RESERVOIR.add(
        RESERVOIR.init(batch([0])), {**batch([0]), "inputs": {"x": jnp.zeros((1, 2))}}, jax.random.key(0)
      ),
      r"an example's 'inputs/x' must have shape \(1,\) as in the memory, got \(2,\)",
    ),
    (
      lambda: RESERVOIR.add(RESERVOIR.init(batch([0], logits=jnp.zeros((1, 3)))), batch([0]), jax.random.key(0)),
      "the memory keeps the column 'logits'",
    ),
    (
      lambda: (m := memory.ring(2, groups=2)).add(
        m.init(batch([0], task=jnp.zeros(1, int))), batch([0], task=jnp.array([2])), jax.random.key(0)
      ),
      "the memory has room for 2 values of 'task', 0..1; got 2",
    ),
    (
      lambda: (m := memory.ring(2, groups=2)).add(m.init(batch([0])), batch([0]), jax.random.key(0)),
      "groups examples by the column 'task'",
    ),
    (
      lambda: (m := memory.herding(2, 2)).add(
        m.init(batch([0], y=jnp.array([0]))), batch([0], y=jnp.array([0])), jax.random.key(0)
      ),
      "herding reads the column 'features'",
    ),
  ],
)
def test_what_does_not_fit_is_refused(use, message):
  with pytest.raises(ValueError, match=message):
    use()
