"""A method that adds up the examples it knows: applying a request twice, or not at all, shows in the sum."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Examples, Guarantee, Method, Model, Outputs, Run, Task, UnlearnState, Verbs
from unlearnjax.serving import Forget, Learn, serve

KEY = jax.random.key(0)


def apply(params, inputs, **_):
  return Outputs(jnp.broadcast_to(params["sum"], (len(inputs["x"]), 1)))


MODEL = Model({"sum": jnp.zeros(())}, fn=apply)
DATA = Examples({"x": np.arange(40, dtype=np.float32)[:, None] + 1})


def bind(fn):
  def changed(state, source, sign, run):
    step = run.once("change", lambda: {"by": jnp.float32(sign * source.column("x").sum())})
    return state.replace(params={"sum": state.params["sum"] + step["by"]}, step=state.step + 1)

  def forget(state, refs, request, run):
    if request.reason == "poison":
      raise ValueError("this request cannot be honoured")
    return changed(state, request.forget, -1, run), refs

  return Verbs(
    lambda model, key: (UnlearnState.create(model.params, rng=key), {}),
    lambda state, refs: Model(state.params, fn=fn),
    learn=lambda state, refs, task, run: (changed(state, task.train, 1, run), refs),
    forget=forget,
  )


COUNTING = Method("counting", bind, Guarantee("exact"))


def task(index, start, stop, data=DATA):
  return Task(f"t{index}", index, data[start:stop])


STREAM = (
  Learn(task(0, 0, 20)),
  Forget([3, 4]),
  Forget([4, 5]),
  Forget([4]),
  Forget([999]),
  Learn(task(1, 20, 40)),
  Forget(where=lambda known: known.column("x")[:, 0] > 38),
)
EXPECTED = float(sum(range(1, 41)) - (4 + 5 + 6) - (39 + 40))


def service(out=None, stream=STREAM, **options):
  return serve(COUNTING, MODEL, list(stream), Run(out=out), key=KEY, audit=lambda m, r: {"forget": 0.0}, **options)


def answers(out=None, stream=STREAM, **options):
  """Serves a stream to its end: (receipts, the sum, the digest of everything kept)."""
  with service(out, stream, **options) as running:
    receipts = list(running)
    return receipts, float(running.model.params["sum"]), running.state
