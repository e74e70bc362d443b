"""Stochastic teacher network: erase, then rebuild. Zhang et al. 2023, arXiv:2308.14322 (paper 13)."""

from __future__ import annotations

import jax
import optax

from unlearnjax import objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fit, need_retain, plain_init, plain_model, zip_roles
from unlearnjax.methods.parts import restart, teacher


def stochastic_teacher(
  *,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  erase_epochs: int = 1,
  rebuild_epochs: int = 1,
  batch_size: int = 128,
) -> Method:
  """Erases the forget set with a randomly initialised teacher, then rebuilds on the retain set with the original one.

  Erase: min_theta mean KL(p_s || p_theta) over F alone, p_s of a fresh random model. Rebuild, with a new optimizer:
  min_theta alpha mean KL(p_o || p_theta) + (1 - alpha) CE over R alone, p_o of the original model. There is no official
  code; of two public re-implementations one has an alpha of unclear place, the other distils only (alpha 1). Models
  with
  batch statistics: the student trains in train mode, the teachers are in eval mode.

  Args:
    alpha: in [0, 1], weight of the distillation in the second stage; 0 is cross entropy alone.
    tx: optimizer of both stages; SGD 0.01 with momentum 0.9 by default.
    erase_epochs: passes over the forget set.
    rebuild_epochs: passes over the retain set.
    batch_size: rows of a step.

  Raises:
    ValueError: alpha outside [0, 1], or a request without a retain set.

  Example:
    >>> stochastic_teacher(alpha=0.5).name
    'stochastic_teacher'
  """
  check.fraction("alpha", alpha, zero=True)
  tx = optax.sgd(0.01, momentum=0.9) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    chance = objectives.distill(fn, reference="random_teacher")
    follow = objectives.scaled(objectives.distill(fn), alpha)
    label = objectives.scaled(objectives.cross_entropy(fn), 1 - alpha)
    erase = descend({"forget": chance}, tx, state_from="forget", name="erase")
    rebuild = descend({"retain": objectives.added(follow, label)}, tx, state_from="retain", name="rebuild")

    def teachers(model, key):
      return {"teacher": teacher(model), "random_teacher": teacher(fn.init(jax.random.fold_in(key, 1)))}

    def forget(state, refs, request, run):
      retain = need_retain("stochastic_teacher", request)
      refs = {**refs, "teacher": teacher(state)}
      gone = zip_roles(forget=request.forget, batch_size=batch_size, epochs=erase_epochs)
      kept = zip_roles(retain=retain, batch_size=batch_size, epochs=rebuild_epochs)
      state, _ = fit(erase, restart(state, erase, rebuild), gone, refs, run, name="erase")
      return fit(rebuild, state, kept, refs, run, name="rebuild")[0], refs

    return Verbs(plain_init(erase, rebuild, refs=teachers), plain_model(fn), forget=forget)

  return Method("stochastic_teacher", bind)
