"""LiRA: the likelihood-ratio membership attack."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs

_MIN_SD = 1e-6  # models that agree to the last digit would make a density infinite


def logit_scaled_confidence(logits: Array, labels: Array) -> Array:
  """log p_y - log(1 - p_y), the logit of the label minus logsumexp of the others; unbounded, higher for members.

  Computed from logits, so it stays exact where p_y rounds to 1. Source: Carlini et al. 2022, arXiv:2112.03570.

  Args:
    logits: f[N, C], C >= 2.
    labels: int[N] in [0, C).

  Returns:
    f[N], in float32 or wider.

  Raises:
    ValueError: shapes other than [N, C] and [N], one class only, labels outside [0, C).

  Example:
    >>> round(float(logit_scaled_confidence(jnp.array([[100.0, 0.0, 0.0]]), jnp.array([0]))[0]), 4)
    99.3069
  """
  inputs.class_labels("labels", labels, "logits", logits)
  shapes.two_classes("logits", logits)
  logits = shapes.at_least_f32(logits)
  own = jnp.asarray(labels)[:, None] == jnp.arange(logits.shape[1])
  others = jax.nn.logsumexp(jnp.where(own, -jnp.inf, logits), axis=-1)
  return jnp.sum(jnp.where(own, logits, 0), axis=-1) - others


def lira(target_conf, in_confs, out_confs, *, fix_variance: bool = False) -> np.ndarray:
  """LiRA score of each example: log N(c; in) - log N(c; out), larger for members.

  Gaussians are fitted, example by example, to logit-scaled confidences over shadow models trained with and without the
  example. Without `in_confs` (offline attack) the score is log P(N(out) <= c). Judge scores with `roc_report`.
  Source: Carlini et al. 2022, arXiv:2112.03570.

  Args:
    target_conf: f[N] of the attacked model.
    in_confs: f[M, N] of models trained with the example, or None; NaN where a model does not count for an example.
    out_confs: f[M', N] of models trained without it; NaN likewise.
    fix_variance: one variance for all examples (pooled within examples); better with few (< 64) shadow models.

  Returns:
    f64[N].

  Raises:
    ValueError: shapes that do not fit, NaN in target_conf, an example with fewer than two models on a side.

  Example:
    >>> out = np.array([[-1.0, -1.0], [1.0, 1.0]])
    >>> lira(np.array([5.0, 0.0]), out + 5, out).round(3).tolist()
    [6.25, -6.25]
  """
  target = inputs.host_vector("target_conf", target_conf)
  out_mean, out_sd = _gaussians("out_confs", out_confs, len(target), fix_variance)
  if in_confs is None:
    from scipy.stats import norm

    return norm.logcdf(target, out_mean, out_sd)
  in_mean, in_sd = _gaussians("in_confs", in_confs, len(target), fix_variance)
  return gaussian_log_ratio(target, in_mean, in_sd, out_mean, out_sd)


def gaussian_log_ratio(x, in_mean, in_sd, out_mean, out_sd):
  """log N(x; in_mean, in_sd^2) - log N(x; out_mean, out_sd^2); deviations are at least 1e-6.

  Example:
    >>> float(gaussian_log_ratio(1.0, 1.0, 1.0, 0.0, 1.0))
    0.5
  """
  in_sd, out_sd = np.maximum(in_sd, _MIN_SD), np.maximum(out_sd, _MIN_SD)
  return np.log(out_sd / in_sd) + (((x - out_mean) / out_sd) ** 2 - ((x - in_mean) / in_sd) ** 2) / 2


def _gaussians(name: str, confs, examples: int, pooled: bool) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation of each column over its models that are not NaN."""
  confs = inputs.host_matrix(name, confs, rows=2, nan=True)
  if confs.shape[1] != examples:
    raise ValueError(f"{name} must be [M, {examples}] like target_conf, got shape {confs.shape}")
  counts = np.sum(~np.isnan(confs), axis=0)
  if counts.min() < 2:
    raise ValueError(f"{name} needs two models for every example, got {counts.min()} for example {counts.argmin()}")
  mean = np.nanmean(confs, axis=0)
  squares = np.nansum((confs - mean) ** 2, axis=0)
  variance = np.full(examples, squares.sum() / (counts - 1).sum()) if pooled else squares / (counts - 1)
  return mean, np.maximum(np.sqrt(variance), _MIN_SD)
