"""SCRUB+R: SCRUB with rewinding. Kurmanji et al., NeurIPS 2023, arXiv:2302.09880 (baseline B8)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax.core import (
  Method,
  Model,
  ModelFn,
  Transform,
  Verbs,
  as_examples,
  fit,
  need_retain,
  outputs,
  plain_init,
  plain_model,
)
from unlearnjax.methods.classification.scrub import BATCH, check_settings, game, nudged, rounds
from unlearnjax.methods.parts import restart, teacher


def scrub_r(
  *,
  alpha: float = 0.5,
  gamma: float = 1.0,
  temperature: float = 2.0,
  max_epochs: int = 3,
  epochs: int = 10,
  perturb: float = 1e-3,
  tx: optax.GradientTransformation | None = None,
  batch_size: int | Mapping[str, int] = BATCH,
) -> Method:
  """SCRUB, rewound to the epoch whose error on the forget set is that of data which was never seen.

  An error on F that is too high gives the forget set away. The weights at the end of every epoch of `scrub` are kept
  (epochs copies of the model on the device); the reference is the error of the last of them on examples distributed
  like F, and the epoch whose error on F lies nearest to it is chosen, the latest of equals. The trajectory is bit-equal
  to that of `scrub` with the same arguments.

  The examples distributed like F are `request.extra["validation"]`, otherwise `request.extra["test_forget"]` (held-out
  rows of the classes that go).

  Args:
    alpha, gamma, temperature, max_epochs, epochs, perturb, tx, batch_size: as in `scrub`.

  Raises:
    ValueError: as in `scrub`, or a request that holds neither kind of held-out examples.

  Example:
    >>> scrub_r(temperature=4.0, epochs=5).name
    'scrub_r'
  """
  check_settings(alpha, gamma, temperature, max_epochs, epochs, perturb)

  def bind(fn: ModelFn) -> Verbs:
    step = keep_epochs(game(fn, tx, alpha=alpha, gamma=gamma, temperature=temperature), epochs)

    def forget(state, refs, request, run):
      held_out = like_forget(request)
      plan = rounds(request.forget, need_retain("scrub_r", request), max_epochs, epochs, batch_size)
      refs = {"teacher": teacher(state), "ends": state.step + epoch_ends(plan, epochs)}
      state, _ = fit(step, nudged(restart(state, step), perturb), plan, refs, run)
      reached = 1 + int(jnp.sum(state.step > refs["ends"]))  # a budget may end the run early
      kept = [jax.tree.map(lambda x, e=e: x[e], state.slots["epochs"]) for e in range(reached)]
      models = [Model(k["params"], k["state"], {}, fn) for k in kept]
      goal = error(models[-1], held_out, run)
      gaps = np.array([abs(error(model, request.forget, run) - goal) for model in models])
      best = kept[reached - 1 - int(np.argmin(gaps[::-1]))]
      return state.replace(params=best["params"], model_state=best["state"]), refs

    refs = lambda model, key: {"teacher": teacher(model), "ends": jnp.zeros(epochs, jnp.int32)}
    return Verbs(plain_init(step, refs=refs), plain_model(fn), forget=forget)

  return Method("scrub_r", bind)


def keep_epochs(transform: Transform, epochs: int) -> Transform:
  """Keeps the model of every epoch in `slots["epochs"]`; `refs["ends"]`, int32[epochs], holds the last steps."""

  def init(state):
    state = transform.init(state)
    model = {"params": state.params, "state": state.model_state}
    kept = jax.tree.map(lambda x: jnp.broadcast_to(x, (epochs, *x.shape)), model)
    return state.replace(slots={**state.slots, "epochs": jax.tree.map(jnp.copy, kept)})

  def update(state, batch, refs):
    state, info = transform.update(state, batch, refs)
    epoch = jnp.sum(state.step > refs["ends"])  # written at every step of an epoch: the last one stands
    model = {"params": state.params, "state": state.model_state}
    kept = jax.tree.map(lambda old, new: old.at[epoch].set(new), state.slots["epochs"], model)
    return state.replace(slots={**state.slots, "epochs": kept}), info

  return Transform(init, update)


def epoch_ends(plan, epochs: int) -> np.ndarray:
  """Steps at which the passes over the retain set end, int32[epochs]."""
  per_epoch = plan.streams["retain"].steps_per_epoch
  return (np.flatnonzero(plan.active["retain"])[per_epoch - 1 :: per_epoch] + 1)[:epochs].astype(np.int32)


def like_forget(request):
  """Held-out examples that are distributed like the forget set."""
  for name in ("validation", "test_forget"):
    if request.extra.get(name) is not None and len(request.extra[name]):
      return request.extra[name]
  raise ValueError(
    "scrub_r needs held-out examples distributed like the forget set in request.extra['validation'] or "
    f"request.extra['test_forget']; found {sorted(request.extra)}"
  )


def error(model: Model, source, run) -> float:
  """Fraction of wrong predictions."""
  predicted = outputs(model, source, run)["logits"].argmax(-1)
  return float(np.mean(predicted != as_examples(source).column("y")))
