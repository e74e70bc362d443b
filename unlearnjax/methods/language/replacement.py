"""Other answers in the place of those to forget: refusals, answers of other questions, templates.

The forget source holds them as columns `<answers>_tokens` and `<answers>_mask`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import objectives
from unlearnjax.core import (
  Method,
  ModelFn,
  Transform,
  Verbs,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.methods.language.recipe import adamw, unlearner
from unlearnjax.methods.parts import restart


def idk(
  *,
  answers: str = "alt",
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """Trains refusals to the questions to forget, and the true answers to the others, as one batch.

  One mean over the tokens of both: the shorter the refusals, the less they weigh. TOFU's preference optimization,
  arXiv:2401.06121.

  Args:
    answers: prefix of the refusals' columns; as wide as the plain ones.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> idk().name
    'idk'
  """
  tx = adamw(epochs) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = pooled(descend({"both": objectives.nll(fn)}, tx, state_from="both"), answers)

    def forget(state, refs, request, run):
      plan = zip_roles(
        anchor="forget",
        batch_size=batch_size,
        epochs=epochs,
        forget=request.forget,
        retain=need_retain("idk", request),
      )
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("idk", bind)


def pooled(step: Transform, answers: str) -> Transform:
  """A step on role "both": the retain rows, and the forget rows with their other answers."""

  def update(state, batch, refs):
    parts = [
      {"inputs": {"tokens": part["inputs"]["tokens"]}, **{k: part[k] for k in ("mask", "id", "valid")}}
      for part in (objectives.answer_batch(batch["forget"], answers), batch["retain"])
    ]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *parts)
    rest = {k: v for k, v in batch.items() if k not in ("forget", "retain")}
    return step.update(state, {**rest, "both": both}, refs)

  return Transform(step.init, update)


def llmu(
  *,
  answers: str = "alt",
  ascent: float = 0.5,
  mismatch: float = 1.0,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """Ascent on the answers, descent on answers of other questions, and the original predictions on the retain set.

  -ascent nll_F + mismatch nll(other answer)_F + alpha KL(p_ref || p)_R. Yao et al. 2023, arXiv:2310.10683.

  Args:
    answers: prefix of the columns of mismatched answers.
    ascent: weight of the ascent.
    mismatch: weight of the mismatched answers.
    alpha: weight of the divergence.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default (the paper: 2e-6, batches of 2, 1,000 steps).
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> llmu(ascent=0.1).name
    'llmu'
  """

  def forget(fn):
    away = objectives.scaled(objectives.nll(fn), -ascent)
    return _on_one_batch(away, objectives.scaled(objectives.nll(fn, answers=answers), mismatch))

  return unlearner("llmu", forget, "kl", tx=tx, epochs=epochs, batch_size=batch_size, alpha=alpha)


def flat(
  *,
  divergence: str = "tv",
  answers: str = "alt",
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """Maximises an f-divergence between a template answer and the one to forget, on forget data alone.

  Wang et al. 2024, arXiv:2410.11143 (paper 51).

  Args:
    divergence: see `losses.flat`.
    answers: prefix of the template answers' columns.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of a step.

  Example:
    >>> flat(divergence="kl").name
    'flat'
  """
  forget = lambda fn: objectives.flat(fn, divergence, answers=answers)
  return unlearner("flat", forget, None, tx=tx, epochs=epochs, batch_size=batch_size)


def _on_one_batch(*parts):
  """The sum of objectives whose means have different denominators: no one weight belongs to it."""

  def objective(params, batch, view):
    value, aux = objectives.added(*parts)(params, batch, view)
    return value, {k: v for k, v in aux.items() if k != "weight"}

  return objective
