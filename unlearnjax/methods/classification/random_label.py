"""Random labels from all classes (baseline B4)."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, descend, fit, need_retain, plain_init, plain_model, zip_roles
from unlearnjax.methods.parts import restart


def random_label(
  *,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 256,
  exclude_true: bool = False,
) -> Method:
  """Trains the forget set on labels drawn at random, anew in every batch, and the retain set on its own.

  min_theta CE(F, y') + CE(R, y) with y' uniform over all C classes, by default the true one too. It over-forgets: the
  model is less sure of F than one that never saw it. SalUn with density 1 is this method; defaults as in Fan et al.
  2024, arXiv:2310.12508. Models with batch statistics train in train mode and keep those of the retain batches.

  Args:
    tx: optimizer; SGD 0.013 with momentum 0.9 by default.
    epochs: passes over the retain set; the forget set is walked through at its own pace.
    batch_size: rows of each role.
    exclude_true: never draws the true label, anew in every batch (`amnesiac` draws once).

  Raises:
    ValueError: a request without a retain set.

  Example:
    >>> random_label(epochs=3).name
    'random_label'
  """
  tx = optax.sgd(0.013, momentum=0.9) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = descend(
      {"forget": objectives.random_label(fn, exclude_true=exclude_true), "retain": objectives.cross_entropy(fn)},
      tx,
      state_from="retain",
    )

    def forget(state, refs, request, run):
      retain = need_retain("random_label", request)
      plan = zip_roles(anchor="retain", batch_size=batch_size, epochs=epochs, forget=request.forget, retain=retain)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("random_label", bind)
