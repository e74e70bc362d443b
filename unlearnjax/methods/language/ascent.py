"""Gradient ascent on what is forgotten, plain, held back, and weighted token by token."""

from __future__ import annotations

import optax

from unlearnjax import objectives
from unlearnjax.core import Method
from unlearnjax.methods.language.recipe import unlearner


def gradient_ascent(*, tx: optax.GradientTransformation | None = None, epochs: int = 5, batch_size: int = 32) -> Method:
  """Ascends the mean nll of the answers, without a retain set: unbounded, it destroys a model if it is not stopped.

  Jang et al. 2023, arXiv:2210.01504 (Knowledge unlearning); TOFU's GA, arXiv:2401.06121.

  Args:
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default, see `recipe.adamw`.
    epochs: passes over the forget set.
    batch_size: rows of a step; Jang et al. take the whole forget set.

  Example:
    >>> gradient_ascent().name
    'gradient_ascent'
  """
  forget = lambda fn: objectives.negated(objectives.nll(fn))
  return unlearner("gradient_ascent", forget, None, tx=tx, epochs=epochs, batch_size=batch_size)


def grad_diff(
  *,
  gamma: float = 1.0,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """Ascent on the forget set, descent on the retain set: -gamma nll_F + alpha nll_R.

  Liu et al. 2022, arXiv:2203.12817; TOFU's gradient difference, arXiv:2401.06121. alpha 0 is gradient ascent.

  Args:
    gamma: weight of the ascent.
    alpha: weight of the descent.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> grad_diff(alpha=0.5).name
    'grad_diff'
  """
  forget = lambda fn: objectives.negated(objectives.nll(fn))
  return unlearner("grad_diff", forget, "nll", tx=tx, epochs=epochs, batch_size=batch_size, gamma=gamma, alpha=alpha)


def kl_min(
  *,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """Ascent on the forget set while the predictions on the retain set stay those of the original model.

  -nll_F + alpha KL(p_ref || p)_R over scored tokens. TOFU's KL minimisation, arXiv:2401.06121; Yao et al. 2024,
  arXiv:2402.15159.

  Args:
    alpha: weight of the divergence.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> kl_min().name
    'kl_min'
  """
  forget = lambda fn: objectives.negated(objectives.nll(fn))
  return unlearner("kl_min", forget, "kl", tx=tx, epochs=epochs, batch_size=batch_size, alpha=alpha)


def wga(
  *,
  beta: float = 1.0,
  gamma: float = 1.0,
  alpha: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """Ascent in which each token's weight p^beta fades as the token is forgotten. Wang et al. 2025, arXiv:2502.19301.

  Args:
    beta: >= 0; 0 is gradient difference.
    gamma: weight of the ascent.
    alpha: weight of the nll on the retain set.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> wga(beta=0.5).name
    'wga'
  """
  forget = lambda fn: objectives.wga(fn, beta)
  return unlearner("wga", forget, "nll", tx=tx, epochs=epochs, batch_size=batch_size, gamma=gamma, alpha=alpha)


def satimp(
  *,
  beta1: float = 5.0,
  beta2: float = 1.0,
  gamma: float = 1.0,
  alpha: float = 0.1,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """Ascent weighted by saturation and importance of each token. Yang et al. 2025, arXiv:2505.11953.

  Args:
    beta1: >= 0, saturation.
    beta2: >= 0, importance.
    gamma: weight of the ascent.
    alpha: weight of the nll on the retain set.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> satimp().name
    'satimp'
  """
  forget = lambda fn: objectives.satimp(fn, beta1, beta2)
  return unlearner("satimp", forget, "nll", tx=tx, epochs=epochs, batch_size=batch_size, gamma=gamma, alpha=alpha)


def ceu(
  *,
  skip_first: int = 1,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 32,
) -> Method:
  """Trains towards the model's own predictions without the token to forget, on forget data alone.

  CE-U. Yang 2025, arXiv:2503.01224.

  Args:
    skip_first: answer tokens at the start of each row that are left alone, >= 0.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of a step.

  Example:
    >>> ceu().name
    'ceu'
  """
  forget = lambda fn: objectives.ceu(fn, skip_first=skip_first)
  return unlearner("ceu", forget, None, tx=tx, epochs=epochs, batch_size=batch_size)
