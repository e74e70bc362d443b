"""Killed in the middle of the second of two fits: the next run goes on as if nothing had happened.

The process that dies is this file, run as a script.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import TOY, plain_weighted, toy_data, toy_xent

from unlearnjax.core import (
  ForgetRequest,
  Method,
  Run,
  Statistic,
  Verbs,
  descend,
  fit,
  fold,
  forget,
  plain_init,
  plain_model,
  zip_roles,
)

HERE = pathlib.Path(__file__).resolve()
DATA = toy_data(60)
REQUEST = ForgetRequest(DATA[:20], DATA[20:])
KILL_AT = 30  # of 60 steps of the second fit


def two_fits(events: list, histories: dict) -> Method:
  """A statistic, a noisy fit that reads it, and a second fit that goes on from the first."""

  def bind(fn):
    xent = toy_xent(fn)

    def noisy(params, batch, view):
      value, aux = xent(params, batch, view)
      noise = jax.tree.map(lambda p, m: jnp.sum(p * m) * jax.random.normal(view.rng), params, view.refs["scale"])
      return value + 1e-2 * sum(jax.tree.leaves(noise)), aux

    up = descend({"forget": noisy}, optax.adam(1e-3), combine=plain_weighted(forget=-1.0), name="up")
    down = descend({"forget": noisy, "retain": xent}, optax.adam(1e-2), combine=plain_weighted(), name="down")
    square = lambda acc, model, batch, rng: acc + batch["valid"] @ jnp.sum(batch["inputs"]["x"] ** 2, -1)
    statistic = Statistic(lambda model: jnp.zeros(()), square, backward=1)

    def run_forget(state, refs, request, run):
      def scale():
        events.append("fold")
        size = fold(statistic, plain_model(fn)(state, refs), request.forget, run)
        return jax.tree.map(lambda p: jnp.full(p.shape, jnp.tanh(size / 100)), state.params)

      refs = {"scale": run.once("scale", scale)}
      roles = {"forget": request.forget, "retain": request.retain}
      first = zip_roles(forget=request.forget, batch_size=4, epochs=4)
      second = zip_roles(anchor="retain", batch_size={"forget": 4, "retain": 8}, epochs=12, **roles)
      for name, step, plan in (("first", up, first), ("second", down, second)):
        events.append(name)
        state, histories[name] = fit(step, state, plan, refs, run, name=name)
      return state, refs

    return Verbs(plain_init(up, down), plain_model(fn), forget=run_forget)

  return Method("two_fits", bind)


def go(out, writer=None, events=None):
  """One forget request; returns parameters and optimizer states, histories and the ledger."""
  histories, run = {}, Run(out=out, checkpoint_every=7, writer=writer)
  model = TOY.init(jax.random.key(0))
  method = two_fits([] if events is None else events, histories)
  result = forget(method, model, REQUEST, key=jax.random.key(1), run=run)
  return (result.state.params, result.state.opt_state), {k: dict(h) for k, h in histories.items()}, run.cost


@pytest.fixture(scope="module")
def whole():
  return go(None)


def child(out, mode):
  env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[2]), str(HERE.parents[1])])}
  return subprocess.Popen([sys.executable, str(HERE), str(out), mode], env=env, stdout=subprocess.PIPE, text=True)


def check_resumes(out, whole):
  events = []
  ends, histories, cost = go(out, events=events)
  jax.tree.map(np.testing.assert_array_equal, ends, whole[0])
  for name in ("first", "second"):
    assert histories[name].keys() == whole[1][name].keys()
    jax.tree.map(np.testing.assert_array_equal, histories[name], whole[1][name])
  assert len(histories["second"]["loss"]) == 60
  assert "fold" not in events
  assert cost.steps == whole[2].steps and cost.gradient_evaluations == whole[2].gradient_evaluations


def committed(out):
  """Steps of the second fit that were saved."""
  directory = out / "checkpoints" / "two_fits" / "second"
  return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def test_a_process_that_exits_inside_the_second_fit(tmp_path, whole):
  process = child(tmp_path, "exit")
  process.communicate(timeout=120)
  assert process.returncode == 3
  assert 0 < max(committed(tmp_path)) < 60
  check_resumes(tmp_path, whole)


def test_a_process_that_is_killed_inside_the_second_fit(tmp_path, whole):
  process = child(tmp_path, "wait")
  for line in process.stdout:
    if line.startswith("second") and int(line.split()[1]) >= KILL_AT:
      break
  os.kill(process.pid, signal.SIGKILL)
  process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL
  assert 0 < max(committed(tmp_path)) < 60
  check_resumes(tmp_path, whole)


def main(out: str, mode: str) -> None:
  events = []

  def writer(label, step, scalars):
    print(events[-1], step, flush=True)
    if mode == "exit" and events[-1] == "second" and step >= KILL_AT:
      os._exit(3)
    if mode == "wait" and events[-1] == "second" and step > KILL_AT + 7:
      time.sleep(100)  # the signal comes while the steps before are computed or saved, at the latest here

  go(out, writer, events)


if __name__ == "__main__":
  main(*sys.argv[1:])
