"""Objectives on whole answers: means over valid rows. What a role batch holds is said in `objectives.tokens`."""

from __future__ import annotations

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.types import ModelFn, Objective
from unlearnjax.objectives.bind import mean, with_state
from unlearnjax.objectives.tokens import answer, answer_batch, reference_logp, row_logp


def npo(fn: ModelFn, beta: float = 0.1, *, reference: str = "reference", train: bool = True) -> Objective:
  """Negative preference optimization on the forget role, see `losses.npo`. arXiv:2404.05868.

  Args:
    fn: the model and its reference.
    beta: > 0.
    reference: `refs[reference] = {"params", "state"}` of the model before the first step; not needed where the batch
      holds the column `ref_logp` (see `with_reference`), which spares the second forward pass.
    train: runs the model for training.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from unlearnjax.core.types import Outputs, View
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> batch = {"inputs": {"tokens": jnp.array([[0, 1, 2]])}, "mask": jnp.array([[False, True, True]])}
    >>> view = View(0, jax.random.key(0), {"reference": {"params": jnp.eye(4)}}, {}, ())
    >>> round(float(npo(bigram)(jnp.eye(4), batch, view)[0]), 4)
    13.8629
  """
  check.positive("beta", beta)

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    value, aux = mean(losses.npo(row_logp(aligned), reference_logp(fn, batch, view, reference), beta), batch)
    return value, with_state(aux, out, view, train)

  return objective


def simnpo(fn: ModelFn, beta: float = 4.5, gamma: float = 0.0, *, train: bool = True) -> Objective:
  """NPO without a reference, normalised by length, on the forget role, see `losses.simnpo`. arXiv:2410.07163."""
  check.positive("beta", beta)

  def objective(params, batch, view):
    aligned, out = answer(fn, params, batch, view, train=train)
    rows = losses.reduce_seq_mean(losses.token_nll(*aligned), aligned.mask)
    value, aux = mean(losses.simnpo(rows, beta, gamma), batch)
    return value, with_state(aux, out, view, train)

  return objective


def idk_dpo(
  fn: ModelFn,
  beta: float = 0.1,
  *,
  answers: str = "alt",
  reference: str = "reference",
  scale: float | None = None,
  train: bool = True,
) -> Objective:
  """Prefers another answer (a refusal; in AltPO an alternative of the model's own) to the one to forget.

  See `losses.dpo`. The forward passes are two, and two more where the columns `ref_logp` and `<answers>_ref_logp` are
  missing.

  Args:
    fn: the model and its reference.
    beta: > 0.
    answers: the answers to prefer, see `objectives.tokens`.
    reference: `refs[reference] = {"params", "state"}`; not needed where the batch holds the columns.
    scale: 2 / beta by default; 1 is plain DPO.
    train: runs the model for training.
  """
  check.positive("beta", beta)

  def objective(params, batch, view):
    preferred = answer_batch(batch, answers)
    lose, out = answer(fn, params, batch, view, train=train)
    win, _ = answer(fn, params, preferred, view, train=train)
    values = losses.dpo(
      row_logp(win),
      reference_logp(fn, preferred, view, reference),
      row_logp(lose),
      reference_logp(fn, batch, view, reference),
      beta,
      scale,
    )
    value, aux = mean(values, batch)
    return value, with_state(aux, out, view, train)

  return objective


def flat(fn: ModelFn, divergence: str = "tv", *, answers: str = "alt", train: bool = True) -> Objective:
  """An f-divergence between a template answer and the one to forget, see `losses.flat`. arXiv:2410.11143.

  Args:
    fn: a causal model.
    divergence: see `losses.flat`.
    answers: the template answers, see `objectives.tokens`.
    train: runs the model for training.
  """
  check.one_of("divergence", divergence, tuple(losses.pair_divergence.DIVERGENCES))

  def objective(params, batch, view):
    forget, out = answer(fn, params, batch, view, train=train)
    template, _ = answer(fn, params, answer_batch(batch, answers), view, train=train)
    score = lambda a: losses.mean_probability(losses.token_nll(*a), a.mask)
    value, aux = mean(losses.flat(score(template), score(forget), divergence), batch)
    return value, with_state(aux, out, view, train)

  return objective
