"""RMIA: the robust membership attack by pairwise likelihood ratios, offline."""

from __future__ import annotations

import numpy as np

from unlearnjax.core import check
from unlearnjax.metrics import inputs


def rmia(
  target_probs, reference_probs, population_probs, population_reference_probs, *, gamma: float = 2.0, a: float = 0.3
) -> np.ndarray:
  """RMIA score of each example: the share of population examples that it dominates, in [0, 1]; larger for members.

  score(x) = P_z [ (p(x) / P(x)) / (p(z) / P(z)) >= gamma ], p the attacked model's probability of the label (not its
  loss), P(x) = ((1 + a) mean_m p_m(x) + 1 - a) / 2 and P(z) = mean_m p_m(z) over reference models that saw neither.
  Judge scores with `roc_report`. Source: Zarifzadeh et al. 2024, arXiv:2312.03262, offline.

  Args:
    target_probs: f[N] in [0, 1], of the attacked model on the examples to be judged.
    reference_probs: f[M, N], of models trained without them.
    population_probs: f[Z], of the attacked model on population examples that nobody was trained on.
    population_reference_probs: f[M, Z].
    gamma: >= 1; the ratio that counts as dominating.
    a: in [0, 1]; how far the mean of models without x stands for the mean over all models (1: entirely).

  Returns:
    f64[N].

  Raises:
    ValueError: shapes that do not fit, values outside [0, 1], gamma < 1, a outside [0, 1].

  Example:
    >>> rmia([0.9, 0.3], [[0.2, 0.2]], [0.4, 0.1], [[0.2, 0.2]], gamma=2.0, a=1.0).tolist()
    [1.0, 0.5]
  """
  if gamma < 1:
    raise ValueError(f"gamma must be >= 1, got {gamma}")
  check.fraction("a", a, zero=True)
  x, mean_x = _pair("target_probs", target_probs, "reference_probs", reference_probs)
  z, mean_z = _pair("population_probs", population_probs, "population_reference_probs", population_reference_probs)
  ratio_x = x / np.maximum(((1 + a) * mean_x + 1 - a) / 2, 1e-30)
  ratio_z = np.sort(z / np.maximum(mean_z, 1e-30))
  return np.searchsorted(ratio_z, ratio_x / gamma, side="right") / len(ratio_z)


def _pair(name: str, probs, reference_name: str, reference) -> tuple[np.ndarray, np.ndarray]:
  """The attacked model's probabilities and the mean of the reference models'."""
  probs = inputs.host_vector(name, probs)
  reference = inputs.host_matrix(reference_name, reference, rows=1)
  inputs.unit_interval(name, probs)
  inputs.unit_interval(reference_name, reference)
  if reference.shape[1] != len(probs):
    raise ValueError(f"{reference_name} must be [M, {len(probs)}] like {name}, got shape {reference.shape}")
  return probs, reference.mean(0)
