"""SI: synaptic intelligence. Zenke et al., ICML 2017, arXiv:1703.04200 (baseline B5)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import curvature, objectives, updates
from unlearnjax.core import Method, ModelFn, Verbs, check, descend
from unlearnjax.methods.continual.consolidate import naming_strength, no_anchor
from unlearnjax.methods.continual.parts import learner, open_head


def si(
  *,
  strength: float = 0.1,
  damping: float = 0.1,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Holds each weight near its value after the last task, as firmly as it has lowered the losses of earlier tasks.

  CE(D_t) + strength sum_j Omega_j (theta_j - theta_{t-1}[j])^2. While a task is trained w_j = -sum g_j dtheta_j, g the
  gradient of CE alone; at its end Omega_j += max(w_j / ((theta_j - theta_{t-1}[j])^2 + damping), 0).

  Args:
    strength: c >= 0; 0 is sequential fine-tuning.
    damping: xi > 0.
    tx: optimizer of the sum, SGD 0.03 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: strength < 0, damping <= 0.
    NonFiniteError: when learning, a strength at which descent on the penalty diverges; names the largest step size.

  Example:
    >>> si(strength=0.5).name
    'si'
  """
  check.positive("strength", strength, zero=True)
  check.positive("damping", damping)
  inner = optax.sgd(0.03) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    tx = updates.path_integral(updates.penalized(inner, objectives.anchored(), strength))
    step = descend({"current": objectives.cross_entropy(open_head(fn))}, tx, state_from="current")

    def after(state, refs, task, run):
      path = optax.tree.get(state.opt_state["main"], "path")
      new = curvature.synaptic_importance(path, refs["anchor"]["params"], state.params, damping)
      importance = jax.tree.map(jnp.add, refs["importance"], new)
      fresh = optax.tree.set(state.opt_state["main"], path=jax.tree.map(jnp.zeros_like, path))
      state = state.replace(opt_state={**state.opt_state, "main": fresh})
      return state, {**refs, "importance": importance, "anchor": {"params": state.params}}

    settings = dict(epochs=epochs, batch_size=batch_size, every=every)
    return naming_strength(learner(fn, step, refs=no_anchor, after=after, **settings), inner, strength)

  return Method("si", bind)
