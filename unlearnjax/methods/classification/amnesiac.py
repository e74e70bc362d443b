"""Amnesiac relabelling: random labels from the other classes. Graves et al., AAAI 2021, arXiv:2010.10981 (B4)."""

from __future__ import annotations

import jax
import numpy as np
import optax

from unlearnjax import objectives
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
  view_model,
  zip_roles,
)
from unlearnjax.methods.parts import num_outputs, restart


def amnesiac(*, tx: optax.GradientTransformation | None = None, epochs: int = 3, batch_size: int = 128) -> Method:
  """Gives every example to forget a wrong label, once, and trains on the union with the retain set.

  y' ~ Uniform({0..C-1} \\ {y}) for F, y' = y for R; min_theta CE(F u R, y'), shuffled together. The labels are drawn
  from the key of the state, so that the same key gives the same labels. The procedure and the defaults are those of
  the benchmark of selective synaptic dampening (arXiv:2308.07707). Models with batch statistics train in train mode.

  Args:
    tx: optimizer; Adam 1e-4 by default.
    epochs: passes over the union.
    batch_size: rows of a step.

  Raises:
    ValueError: a request without a retain set, or whose sets are not selections of one table.

  Example:
    >>> amnesiac(epochs=1).name
    'amnesiac'
  """
  tx = optax.adam(1e-4) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend({"train": objectives.cross_entropy(fn, target="relabel")}, tx, state_from="train")

    def forget(state, refs, request, run):
      union = as_examples(request.forget) + as_examples(need_retain("amnesiac", request))
      y = union.columns["y"]  # of the whole table: a label does not depend on what else is forgotten
      wrong = objectives.random_labels(
        jax.random.fold_in(state.rng, 1), y, num_outputs(view_model(fn, state), union), exclude_true=True
      )
      gone = np.isin(union.ids, as_examples(request.forget).ids)
      relabelled = union.replace(relabel=np.where(gone, np.asarray(wrong)[union.rows], y[union.rows]))
      plan = zip_roles(train=relabelled, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("amnesiac", bind)
