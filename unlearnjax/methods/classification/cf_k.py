"""CF-k: catastrophic forgetting in the last k layers. Goel et al. 2022, arXiv:2201.06640 (baseline B11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from unlearnjax import models, objectives, updates
from unlearnjax.core import (
  Method,
  Model,
  ModelFn,
  Objective,
  Verbs,
  check,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.methods.parts import restart, sgd


def cf_k(
  *,
  k: int = 1,
  order: Sequence[str] | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 128,
) -> Method:
  """Fine-tunes the last k layers with weights on the retain set; all others stay bit-equal.

  min CE_R over the parameters of the last k convolutions and linear maps, and of normalisation layers behind the first
  of them. Trains in train mode; the batch statistics of frozen layers stay as they are. k = all layers is `fine_tune`.

  Args:
    k: layers that move, from 1 to the number of layers with weights.
    order: paths of the submodules that own parameters, in forward order; observed for models of `from_nnx` and
      `from_linen`, to be written down for others.
    tx: optimizer; SGD 0.01 with momentum 0.9 and decay 5e-4 by default. The mask is applied to its updates.
    epochs: passes over the retain set; published runs take from 10 to 62.
    batch_size: rows of a step.

  Raises:
    ValueError: k out of range, a model whose order cannot be observed, or a request without a retain set.

  Example:
    >>> cf_k(k=3).name
    'cf_k'
  """
  check.positive("k", k)
  tx = sgd(0.01) if tx is None else tx
  check.optimizer("tx", tx)

  def bind(fn: ModelFn) -> Verbs:
    xent = hold_state(objectives.cross_entropy(fn))
    step = descend({"retain": xent}, optax.chain(tx, updates.mask_by("free")), state_from="retain")

    def forget(state, refs, request, run):
      plan = zip_roles(retain=need_retain("cf_k", request), batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=lambda model, key: last_layers(model, k, order)), plain_model(fn), forget=forget)

  return Method("cf_k", bind)


def last_layers(model: Model, k: int, order: Sequence[str] | None) -> dict[str, Any]:
  """Masks of what may move: `"free"` like the parameters, `"free_state"` of scalars like the model state."""
  order = models.module_order(model) if order is None else tuple(order)
  free = models.last_k_modules(model.params, k, order)
  owner = lambda path: path.rpartition("/")[0]
  names, hits = models.leaf_paths(free), jax.tree.leaves(free)
  frozen = {owner(name) for name in names} - {owner(name) for name, hit in zip(names, hits) if hit}
  # adapters may keep state by collection: batch_stats/norm/mean belongs to norm
  moves = [not {owner(name), owner(name).partition("/")[2]} & frozen for name in models.leaf_paths(model.state)]
  return {
    "free": jax.tree.map(lambda p, hit: jnp.full(p.shape, hit), model.params, free),
    "free_state": jax.tree.unflatten(jax.tree.structure(model.state), [jnp.asarray(m) for m in moves]),
  }


def hold_state(objective: Objective) -> Objective:
  """An objective that keeps the state of frozen layers: `refs["free_state"]` says whose may change."""

  def f(params, batch, view):
    value, aux = objective(params, batch, view)
    if "state" in aux:
      aux = {**aux, "state": jax.tree.map(jnp.where, view.refs["free_state"], aux["state"], view.model_state)}
    return value, aux

  return f
