"""Preference optimization with answers to leave: NPO, SimNPO, and DPO towards other answers."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method, check
from unlearnjax.methods.language.recipe import unlearner


def npo(
  *,
  beta: float = 0.1,
  retain: str | None = "nll",
  gamma: float = 1.0,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 32,
) -> Method:
  """Negative preference optimization: ascent that switches itself off. Zhang et al. 2024, arXiv:2404.05868 (paper 22).

  gamma (2 / beta) log(1 + (p / p_ref)^beta)_F + alpha R. The reference's likelihoods are computed once, before the
  first step.

  Args:
    beta: > 0; gradient ascent as it goes to 0.
    retain: "nll" (NPO+RT), "kl" (NPO+KL) or None (NPO).
    gamma: weight of the forget term.
    alpha: weight of the retain term.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Raises:
    ValueError: beta <= 0, an unknown retain term, or a request without a retain set that needs one.

  Example:
    >>> npo(beta=0.5, retain="kl").name
    'npo'
  """
  check.positive("beta", beta)
  return unlearner(
    "npo",
    lambda fn: objectives.npo(fn, beta),
    retain,
    tx=tx,
    epochs=epochs,
    batch_size=batch_size,
    gamma=gamma,
    alpha=alpha,
    cached=("",),
  )


def simnpo(
  *,
  beta: float = 4.5,
  margin: float = 0.0,
  gamma: float = 0.125,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 32,
) -> Method:
  """NPO without a reference, normalised by length. Fan et al. 2024, arXiv:2410.07163 (paper 34).

  -gamma (2 / beta) log sigmoid(beta nll - margin)_F + alpha nll_R, nll the mean over a row's answer tokens. The
  defaults are those of TOFU forget10; forget05 takes beta 2.5 and gamma .1375.

  Args:
    beta: > 0.
    margin: the paper's gamma.
    gamma: weight of the forget term.
    alpha: weight of the nll on the retain set.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> simnpo(beta=2.5, gamma=0.1375).name
    'simnpo'
  """
  check.positive("beta", beta)
  forget = lambda fn: objectives.simnpo(fn, beta, margin)
  return unlearner("simnpo", forget, "nll", tx=tx, epochs=epochs, batch_size=batch_size, gamma=gamma, alpha=alpha)


def idk_dpo(
  *,
  beta: float = 0.1,
  answers: str = "alt",
  retain: str | None = "nll",
  gamma: float = 1.0,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 32,
) -> Method:
  """DPO that prefers another answer to the one to forget: a refusal (IDK), or the model's own alternative (AltPO).

  Zhang et al. 2024, arXiv:2404.05868; Mekala et al. 2024, arXiv:2409.13474. The forget source holds the preferred
  answers as columns `<answers>_tokens` and `<answers>_mask`; refusals teach refusing on retained questions too.

  Args:
    beta: > 0.
    answers: prefix of the preferred answers' columns.
    retain: "nll", "kl" or None.
    gamma: weight of the forget term.
    alpha: weight of the retain term; AltPO takes 1 to 5.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> idk_dpo(beta=0.05).name
    'idk_dpo'
  """
  check.positive("beta", beta)
  return unlearner(
    "idk_dpo",
    lambda fn: objectives.idk_dpo(fn, beta, answers=answers),
    retain,
    tx=tx,
    epochs=epochs,
    batch_size=batch_size,
    gamma=gamma,
    alpha=alpha,
    cached=("", answers),
  )
