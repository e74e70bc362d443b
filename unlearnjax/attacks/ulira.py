"""U-LiRA: can an unlearned model be told, example by example, from one that never saw the example?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unlearnjax.attacks.lira import gaussian_log_ratio
from unlearnjax.attacks.roc import roc_report
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs


class ULiraResult(NamedTuple):
  """Success of U-LiRA.

  Attributes:
    accuracy: share of right decisions over models and examples; 0.5 is chance and the ideal, 1 is total failure.
    auc: area under the curve of all scores together.
    unlearned_scores: f64[M, N] log ratios of the unlearned models; above 0 reads "was trained on it".
    never_scores: f64[M, N] log ratios of the models that never saw the example.
  """

  accuracy: float
  auc: float
  unlearned_scores: np.ndarray
  never_scores: np.ndarray


def ulira(unlearned_confs, never_confs) -> ULiraResult:
  """Tells models that unlearned an example from models that never saw it, by per-example Gaussians.

  For model m of either kind and each example, Gaussians are fitted to the logit-scaled confidences of both kinds
  WITHOUT the m-th model of each, so that identical kinds give exactly chance on average; the likelihood ratio decides.
  Source: Hayes et al. 2024, arXiv:2403.01218, with 64 or more models; 16 is a minimum.

  Args:
    unlearned_confs: f[M, N], M >= 3 models trained with the example that then unlearned it.
    never_confs: f[M, N], models never trained on it.

  Raises:
    ValueError: shapes that differ, fewer than three models, values that are not finite.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> confs = rng.normal(size=(2, 32, 50))
    >>> ulira(confs[0] + 100, confs[1]).accuracy, 0.45 < ulira(confs[0], confs[1]).accuracy < 0.55
    (1.0, True)
  """
  unlearned = inputs.host_matrix("unlearned_confs", unlearned_confs, rows=3)
  never = inputs.host_matrix("never_confs", never_confs, rows=3)
  shapes.same_shape("unlearned_confs", unlearned, "never_confs", never)
  gaussians = (*_without_each(unlearned), *_without_each(never))
  scores = [gaussian_log_ratio(x, *gaussians) for x in (unlearned, never)]
  ties = sum(np.mean(s == 0) for s in scores)
  accuracy = (np.mean(scores[0] > 0) + np.mean(scores[1] < 0) + ties / 2) / 2
  report = roc_report(np.concatenate([s.ravel() for s in scores]), np.repeat([True, False], unlearned.size))
  return ULiraResult(float(accuracy), report.auc, *scores)


def _without_each(confs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation of each column without its m-th entry, for every m: f64[M, N] each."""
  count = len(confs) - 1
  center = confs.mean(0)
  off = confs - center  # sums of centered values keep their digits
  mean = (off.sum(0) - off) / count
  variance = ((off**2).sum(0) - off**2 - count * mean**2) / (count - 1)
  return center + mean, np.sqrt(np.maximum(variance, 0))
