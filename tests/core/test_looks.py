"""Looks from the host into a fit: when, what is kept, and that they change nothing."""

from __future__ import annotations

import time

import jax
import numpy as np
import optax
import pytest
from toy import TOY, plain_weighted, toy_data, toy_xent

from unlearnjax.core import History, Run, UnlearnState, descend, fit, zip_roles

STEP = descend({"retain": toy_xent()}, optax.adam(1e-2), combine=plain_weighted())
PLAN = zip_roles(retain=toy_data(50), batch_size=16, epochs=5, seeds=3)  # 20 steps


def start():
  return STEP.init(UnlearnState.create(TOY.init(jax.random.key(0)).params, rng=jax.random.key(0)))


def norm(label, state, refs):
  return {"look/norm": float(optax.tree.norm(state.params)), "look/step": int(state.step)}


def test_numbers_stand_at_their_steps_and_the_weights_do_not_notice():
  plain, old = fit(STEP, start(), PLAN)
  seen, history = fit(STEP, start(), PLAN, run=Run(looks=4, on_look=norm))
  jax.tree.map(np.testing.assert_array_equal, plain.params, seen.params)
  np.testing.assert_array_equal(old["loss"], history["loss"])
  at = np.flatnonzero(np.isfinite(history["look/norm"]))
  assert (at + 1).tolist() == [5, 10, 15, 20] == history["look/step"][at].tolist()
  assert history["look/norm"][-1] == pytest.approx(float(optax.tree.norm(plain.params)))


def test_a_process_that_dies_between_looks_goes_on(tmp_path):
  def die(label, step, scalars):
    if step >= 12:
      raise RuntimeError("killed")

  with pytest.raises(RuntimeError, match="killed"):
    fit(STEP, start(), PLAN, run=Run(out=tmp_path, checkpoint_every=4, looks=4, on_look=norm, writer=die))
  asked = []
  look = lambda label, state, refs: asked.append((label, int(state.step))) or norm(label, state, refs)
  _, resumed = fit(STEP, start(), PLAN, run=Run(out=tmp_path, checkpoint_every=4, looks=4, on_look=look))
  assert asked == [("fit", 10), ("fit", 15), ("fit", 20)]  # the one at 5 was in the checkpoint of step 8
  _, whole = fit(STEP, start(), PLAN, run=Run(looks=4, on_look=norm))
  assert resumed.keys() == whole.keys()
  jax.tree.map(np.testing.assert_array_equal, dict(resumed), dict(whole))
  _, again = fit(STEP, start(), PLAN, run=Run(out=tmp_path, looks=4, on_look=lambda *_: pytest.fail("asked again")))
  np.testing.assert_array_equal(again["look/norm"], whole["look/norm"])


def test_the_ledger_leaves_them_out():
  run = Run(looks=2, on_look=lambda *_: time.sleep(0.4) or {})
  fit(STEP, start(), PLAN, run=run)
  assert run.cost.seconds < 0.4 and run.cost.gradient_evaluations == 250


def test_more_looks_than_steps_and_none():
  assert Run(looks=50, on_look=norm).look_steps(3) == [1, 2, 3] and Run().look_steps(3) == []
  with pytest.raises(ValueError, match="needs on_look, got 2"):
    Run(looks=2)


def test_a_history_fills_up_what_was_not_reported():
  history = History({"loss": [3.0, 2.0]})
  history.note({"seen": 7.0})
  history.extend({"loss": np.array([1.0])})
  np.testing.assert_array_equal(history["seen"], np.array([np.nan, 7, np.nan], np.float32))
  again = History.from_json(history.to_json())
  again.note({"seen": 8.0})
  np.testing.assert_array_equal(again["seen"], np.array([np.nan, 7, 8], np.float32))
