"""The page on compositions is run, and what it says of them is measured."""

from __future__ import annotations

import functools
import pathlib
import re

import jax
import numpy as np
import pytest

import unlearnjax as uj

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "compositions.md"


@functools.cache
def blocks() -> tuple[str, ...]:
  return tuple(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))


def ran(number: int) -> dict:
  """What a block of the page leaves behind, after the first one."""
  names: dict = {}
  for block in (blocks()[0], blocks()[number]):
    exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102
  return names


def accuracy(found, task) -> float:
  return float(np.mean(uj.outputs(found.model, task.test)["logits"].argmax(-1) == task.test.column("y")))


def same(a, b) -> None:
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_examples_are_short():
  assert len(blocks()) == 6
  assert max(sum(bool(line.strip()) for line in block.splitlines()) for block in blocks()) <= 15


@pytest.mark.slow
def test_gem_on_lora_keeps_what_lora_alone_forgets():
  names = ran(1)
  assert names["kept"] > names["lost"] + 0.1
  lora = names["through"](names["lora"], names["gem"])
  (first,) = uj.learn(lora, names["base"], names["stream"].tasks[:1], key=names["key"])
  same(first.refs["base"], names["base"].params)
  size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  assert size(first.state.params) < 0.5 * size(names["base"].params)


@pytest.mark.slow
def test_refreshed_replay_is_the_sum_of_its_parts():
  names = ran(2)
  tasks = names["stream"].tasks[:1]
  (ours,) = uj.learn(uj.Method("refresh", names["bind"]), names["model"], tasks, key=names["key"])
  paper = uj.methods.refresh(rate=1e-3, capacity=200, **names["settings"])
  (theirs,) = uj.learn(paper, names["model"], tasks, key=names["key"])
  same(ours.state.params, theirs.state.params)
  same(ours.state.memory, theirs.state.memory)


@pytest.mark.slow
def test_a_consolidated_hypernetwork_forgets_less():
  names = ran(3)
  assert names["held"] > names["free"] + 0.02


@pytest.mark.slow
def test_a_task_is_learned_forgotten_and_learned_again():
  names = ran(4)
  stream, second = names["stream"], names["second"]
  learned, gone, again = (names[name] for name in ("learned", "gone", "again"))
  assert accuracy(learned, second) > 0.5 and accuracy(gone, second) < 0.05 and accuracy(again, second) > 0.9
  others = [task for task in stream if task.index != 1]
  mean = lambda found: np.mean([accuracy(found, task) for task in others])
  assert mean(gone) > mean(learned) - 0.05 and mean(again) > 0.5
  assert not np.asarray(names["state"].memory["memory"]["rows"]["valid"])[1].any()


@pytest.mark.slow
def test_and_exactly():
  names = ran(5)
  learned, gone, again = (names[name] for name in ("learned", "gone", "again"))
  without = [task for task in names["stream"] if task.index != 1]
  *_, never = uj.learn(names["clpu"], names["model"], without, key=names["key"])
  same(gone.state.params, never.state.params)
  same(gone.state.slots, never.state.slots)
  same(again.state.slots["side"], learned.state.slots["side"])
