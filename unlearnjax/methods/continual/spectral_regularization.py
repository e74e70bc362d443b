"""Keeping a network trainable over many tasks. Lewandowski et al., ICLR 2025, arXiv:2406.06811 (paper 126)."""

from __future__ import annotations

import optax

from unlearnjax import losses, objectives, updates
from unlearnjax.core import Method, ModelFn, Verbs, check, descend
from unlearnjax.methods.continual.parts import learner, open_head
from unlearnjax.methods.parts import teacher

KINDS = ("spectral", "wasserstein", "l2_init", "l2")


def spectral_regularization(
  *,
  weight: float = 1e-4,
  kind: str = "spectral",
  power: int = 2,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Fine-tuning with a penalty that keeps the network as trainable as at its start; it does not fight forgetting.

  CE(D_t) + weight R, inside the loss whatever the optimizer. R is, by kind:
  "spectral": sum_l (sigma_1(W_l)^k - 1)^2 + |b_l|^(2k), by one step of power iteration an update;
  "wasserstein": the distance of each layer's distribution of weights to that at the start;
  "l2_init": |theta - theta_0|^2; "l2": |theta|^2.

  Args:
    weight: lambda >= 0; 1e-5 to 1e-2.
    kind: one of the above.
    power: k of the spectral penalty.
    tx: optimizer, Adam 1e-3 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: weight < 0, an unknown kind.

  Example:
    >>> spectral_regularization(weight=1e-3).name
    'spectral_regularization'
  """
  check.positive("weight", weight, zero=True)
  check.one_of("kind", kind, KINDS)
  tx = optax.adam(1e-3) if tx is None else tx
  tx = optax.chain(updates.spectral(weight, power), tx) if kind == "spectral" else tx
  penalties = {
    "wasserstein": objectives.penalty(losses.wasserstein, reference="initial"),
    "l2_init": objectives.penalty(losses.squared_distance, reference="initial"),
    "l2": objectives.penalty(lambda params: optax.tree.norm(params, squared=True)),
  }

  def bind(fn: ModelFn) -> Verbs:
    roles = {"current": objectives.cross_entropy(open_head(fn))}
    if kind != "spectral":
      roles["weights"] = objectives.scaled(penalties[kind], weight)
    step = descend(roles, tx, state_from="current")
    first = lambda model, key: {"initial": teacher(model)} if kind in ("wasserstein", "l2_init") else {}
    return learner(fn, step, refs=first, epochs=epochs, batch_size=batch_size, every=every)

  return Method("spectral_regularization", bind)
