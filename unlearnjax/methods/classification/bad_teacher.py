"""Bad teacher: unlearning with a competent and an incompetent teacher. Chundawat et al. 2023, arXiv:2205.08096 (B9)."""

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
  check,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.methods.parts import restart, sample, teacher


def bad_teacher(
  *,
  retain_fraction: float = 0.3,
  temperature: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 256,
) -> Method:
  """Distils a randomly initialised model on the forget set and the original model on a part of the retain set.

  min_theta mean KL(t || softmax(z / T)) over the shuffled union of F and a random part of R, with
  t = u softmax(z_bad / T) + (1 - u) softmax(z_o / T), u = 1 on F. Reference implementations average over classes too,
  which makes their loss C times smaller. Models with batch statistics: the student trains in train mode, the teachers
  are in eval mode.

  Args:
    retain_fraction: part of the retain set that is used, in (0, 1], drawn from the key of the state.
    temperature: T > 0.
    tx: optimizer; Adam 1e-4 by default.
    epochs: passes over the union.
    batch_size: rows of a step.

  Raises:
    ValueError: an argument out of range, or a request without a retain set or whose sets are not of one table.

  Example:
    >>> bad_teacher(epochs=2).name
    'bad_teacher'
  """
  check.fraction("retain_fraction", retain_fraction)
  check.positive("temperature", temperature)
  tx = optax.adam(1e-4) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    follow = objectives.bad_teacher(fn, temperature=temperature)
    step = descend({"mixture": objectives.marked(follow["forget"], follow["retain"])}, tx, state_from="mixture")

    def teachers(model, key):
      return {"teacher": teacher(model), "bad_teacher": teacher(fn.init(jax.random.fold_in(key, 1)))}

    def forget(state, refs, request, run):
      refs = {**refs, "teacher": teacher(state)}
      gone = as_examples(request.forget)
      kept = sample(need_retain("bad_teacher", request), retain_fraction, jax.random.fold_in(state.rng, 2))
      union = gone + kept
      mixture = union.replace(forget=np.isin(union.ids, gone.ids))
      plan = zip_roles(mixture=mixture, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=teachers), plain_model(fn), forget=forget)

  return Method("bad_teacher", bind)
