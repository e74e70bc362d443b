"""Losses on whole answers: ratios of probabilities before and after, one number a row.

`logp[b]` = log p(answer | prompt), the sum over answer tokens: `-reduce_seq_sum(token_nll(...), mask)`. The reference
is the model before unlearning; it receives no gradient.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def npo(logp: Array, ref_logp: Array, beta: float = 0.1) -> Array:
  """(2 / beta) log(1 + (p / p_ref)^beta): gradient ascent that switches itself off.

  Its gradient is W grad log p with W = 2 p^beta / (p^beta + p_ref^beta): 1 at the start, 0 once p << p_ref. For beta
  -> 0 it is gradient ascent. Zhang et al. 2024, arXiv:2404.05868.

  Args:
    logp: f[B], sums over answer tokens. A mean over tokens is a different method.
    ref_logp: f[B] of the reference.
    beta: > 0, the inverse temperature.

  Returns:
    f[B] > 0; (2 / beta) log 2 where both agree.

  Raises:
    ValueError: shapes that differ, beta <= 0.

  Example:
    >>> round(float(npo(jnp.array([-10.0]), jnp.array([-10.0]), beta=0.1)[0]), 4)
    13.8629
  """
  check.positive("beta", beta)
  return 2 / beta * jnp.logaddexp(0.0, beta * _log_ratio("logp", logp, "ref_logp", ref_logp))


def simnpo(mean_nll: Array, beta: float = 4.5, gamma: float = 0.0) -> Array:
  """-(2 / beta) log sigmoid(beta mean_nll - gamma): NPO without a reference, normalised by length.

  Fan et al. 2024, arXiv:2410.07163. Some code writes beta (mean_nll - delta): that is gamma = beta delta.

  Args:
    mean_nll: f[B], mean over answer tokens: `reduce_seq_mean(token_nll(...), mask)`.
    beta: > 0.
    gamma: margin.

  Returns:
    f[B] > 0.

  Example:
    >>> round(float(simnpo(jnp.array([0.5]))[0]), 7)
    0.0445362
  """
  check.positive("beta", beta)
  shapes.batched("mean_nll", mean_nll, "B")
  return 2 / beta * jnp.logaddexp(0.0, gamma - beta * shapes.at_least_f32(mean_nll))


def dpo(
  win_logp: Array,
  win_ref_logp: Array,
  lose_logp: Array,
  lose_ref_logp: Array,
  beta: float = 0.1,
  scale: float | None = None,
) -> Array:
  """-scale log sigmoid(beta (log p_w / p_w,ref - log p_l / p_l,ref)): prefers one answer over another.

  For unlearning the losing answer is the one to forget; the winning one is a refusal (IDK) or, in AltPO, a plausible
  alternative. Rafailov et al. 2023, arXiv:2305.18290; Zhang et al. 2024, arXiv:2404.05868.

  Args:
    win_logp: f[B], sums over answer tokens.
    win_ref_logp: f[B] of the reference.
    lose_logp: f[B].
    lose_ref_logp: f[B] of the reference.
    beta: > 0.
    scale: 2 / beta by default, as in the unlearning literature, where dropping the winning terms gives NPO; 1 is plain
      DPO.

  Returns:
    f[B] > 0.

  Example:
    >>> same = jnp.array([-3.0])
    >>> (
    ...   round(float(dpo(same, same, same, same, beta=0.1)[0]), 4),
    ...   round(float(dpo(same, same, same, same, scale=1)[0]), 4),
    ... )
    (13.8629, 0.6931)
  """
  check.positive("beta", beta)
  scale = 2 / beta if scale is None else scale
  lose = _log_ratio("lose_logp", lose_logp, "lose_ref_logp", lose_ref_logp)
  win = _log_ratio("win_logp", win_logp, "win_ref_logp", win_ref_logp)
  shapes.same_shape("lose_logp", lose, "win_logp", win)
  return scale * jnp.logaddexp(0.0, beta * (lose - win))


def _log_ratio(name: str, logp: Array, ref_name: str, ref_logp: Array) -> Array:
  shapes.batched(name, logp, "B")
  shapes.same_shape(name, logp, ref_name, ref_logp)
  return shapes.at_least_f32(logp) - jax.lax.stop_gradient(shapes.at_least_f32(ref_logp))
