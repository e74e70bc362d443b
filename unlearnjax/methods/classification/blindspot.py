"""Blindspot unlearning of a regressor. Tarun et al., ICML 2023, arXiv:2210.08196 (paper 28)."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax

from unlearnjax import losses, objectives
from unlearnjax.core import (
  Method,
  ModelFn,
  Verbs,
  as_examples,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.methods.parts import restart, teacher
from unlearnjax.training import Recipe, train


def blindspot(
  *,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 256,
  beta: float = 50.0,
  sites: tuple[str, ...] = (),
  proxy_tx: optax.GradientTransformation | None = None,
  proxy_epochs: int = 2,
) -> Method:
  """Copies a proxy that was blind to the forget set on F, and keeps to the targets on R.

  The proxy theta_b is a fresh network trained for two epochs on R. From theta_o, over D shuffled, min_theta
  c [mean_F |f - f_b| + beta sum_j AT_j] + (1 - c) mean_R |f - y|, c the share of F in the batch and AT_j the mean
  squared difference of the attention maps (channel means of squared activations, of unit length) at site j. Models with
  batch statistics train in train mode; the proxy is then in eval mode.

  Args:
    tx: optimizer; Adam 1e-3 by default.
    epochs: passes over D.
    batch_size: rows of a step, also of the proxy's.
    beta: weight of the attention maps, >= 0.
    sites: activations f[B, positions..., channels] whose attention maps are compared, e.g. ("blocks/0", "blocks/1") of
      a ConvNet; a network for tables has none.
    proxy_tx: optimizer of the proxy; Adam 0.01 by default.
    proxy_epochs: passes of the proxy over R.

  Raises:
    ValueError: beta < 0, a request without a retain set, or whose sets are not selections of one table.

  Example:
    >>> blindspot(beta=10.0, sites=("blocks/0",)).name
    'blindspot'
  """
  tx = optax.adam(1e-3) if tx is None else tx
  objective = functools.partial(objectives.supervised, loss=losses.absolute_error)
  recipe = Recipe(optax.adam(0.01) if proxy_tx is None else proxy_tx, proxy_epochs, batch_size, objective)

  def bind(fn: ModelFn) -> Verbs:
    follow = objectives.attention_distill(fn, losses.absolute_error, sites=sites, beta=beta)
    step = descend({"train": objectives.marked(follow, objective(fn))}, tx, state_from="train")

    def forget(state, refs, request, run):
      gone, kept = as_examples(request.forget), as_examples(need_retain("blindspot", request))
      proxy = train(fn, kept, recipe, key=jax.random.fold_in(state.rng, 1), run=run, name="proxy")
      refs, union = {"proxy": teacher(proxy)}, gone + kept
      marked = union.replace(forget=np.isin(union.ids, gone.ids))
      plan = zip_roles(train=marked, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=lambda model, key: {"proxy": teacher(model)}), plain_model(fn), forget=forget)

  return Method("blindspot", bind)
