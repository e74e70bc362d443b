"""Forgetting quality as an empirical epsilon: the score of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import math

import numpy as np

from unlearnjax.core import check
from unlearnjax.metrics import inputs

_PER_UNIT = 100  # thresholds per unit of confidence
_BUFFER = 2.0  # how far the ends of an interval are searched beyond the narrower distribution
_BLOCK = 512  # right ends of intervals handled at once


def forgetting_epsilon(unlearned_confs, retrained_confs, *, delta: float = 1e-5, cap: float = 50.0) -> np.ndarray:
  """Per-example epsilon of (epsilon, delta)-unlearning that membership attacks can prove; in [0, cap], 0 is ideal.

  For each forget example, attackers try to tell the confidence of an unlearned model from that of a retrained one:
  one threshold, the kind with the larger median above it; or an interval that is given to the kind with the narrower
  range. Each decision rule gives max(log(1 - delta - FPR) - log FNR, log(1 - delta - FNR) - log FPR); epsilon is the
  largest. Rules with one error at zero are left out for want of samples; both at zero is the cap, and so is a range
  below 1% of the other. Thresholds lie on a grid of 0.01, which suits logit-scaled confidences. The
  estimate is optimistic for the attacker: two samples of one distribution give 1 to 2, not 0, with 512 models a kind.
  Source: Triantafillou et al. 2024, arXiv:2406.09073 (512 models of each kind).

  Args:
    unlearned_confs: f[M, N] logit-scaled confidences, models by forget examples.
    retrained_confs: f[M', N].
    delta: in (0, 1).
    cap: largest value that is reported, > 0.

  Returns:
    f64[N]; NaN where every rule has exactly one error at zero, as with two or three models.

  Raises:
    ValueError: fewer than two models, different examples, values that are not finite.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> confs = rng.normal(size=(64, 2))
    >>> forgetting_epsilon(confs + 20, confs).tolist()
    [50.0, 50.0]
  """
  check.fraction("delta", delta, one=False)
  check.positive("cap", cap)
  unlearned = inputs.host_matrix("unlearned_confs", unlearned_confs, rows=2)
  retrained = inputs.host_matrix("retrained_confs", retrained_confs, rows=2)
  if unlearned.shape[1] != retrained.shape[1]:
    raise ValueError(
      "unlearned_confs and retrained_confs must have the same examples (columns), "
      f"got shapes {unlearned.shape} and {retrained.shape}"
    )
  sizes = (len(unlearned), len(retrained))
  tables = {pair: _epsilon_by_counts(*pair, delta) for pair in (sizes, sizes[::-1])}
  columns = zip(np.sort(unlearned, axis=0).T, np.sort(retrained, axis=0).T)
  return np.array([min(_example_epsilon(u, r, tables), cap) for u, r in columns])


def forgetting_score(epsilons, *, models: int, bucket: float = 0.5) -> float:
  """F: mean over examples of 2^-floor(epsilon / bucket), in [0, 1]; 1 is ideal.

  An example with epsilon >= ceil(log(models - 1)), about the largest that so few models can show, scores 0.
  Source: Triantafillou et al. 2024, arXiv:2406.09073.

  Args:
    epsilons: f[N] from `forgetting_epsilon`.
    models: number of models of each kind behind them, >= 3.
    bucket: width of a step, > 0.

  Raises:
    ValueError: no example, NaN, fewer than three models.

  Example:
    >>> forgetting_score([0.2, 0.7, 50.0, 1.4], models=64)
    0.4375
  """
  check.positive("bucket", bucket)
  if models < 3:
    raise ValueError(f"models must be at least 3, got {models}")
  epsilons = inputs.host_vector("epsilons", epsilons)
  points = np.where(epsilons < math.ceil(math.log(models - 1)), 2.0 ** -np.floor(epsilons / bucket), 0.0)
  return float(points.mean())


def final_score(
  score: float, retain_accuracy: float, retain_reference: float, test_accuracy: float, test_reference: float
) -> float:
  """F * (RA_unlearned / RA_retrained) * (TA_unlearned / TA_retrained); higher is better, 1 for retraining itself.

  Source: Triantafillou et al. 2024, arXiv:2406.09073.

  Args:
    score: F from `forgetting_score`.
    retain_accuracy: of the unlearned models, mean over models, in the unit of its reference.
    retain_reference: of the retrained models, > 0.
    test_accuracy: of the unlearned models.
    test_reference: of the retrained models, > 0.

  Raises:
    ValueError: F outside [0, 1], a reference that is not positive.

  Example:
    >>> round(final_score(0.1, 0.98, 1.0, 0.80, 0.84), 6)
    0.093333
  """
  check.fraction("score", score, zero=True)
  check.positive("retain_accuracy", retain_accuracy, zero=True)
  check.positive("test_accuracy", test_accuracy, zero=True)
  check.positive("retain_reference", retain_reference)
  check.positive("test_reference", test_reference)
  return score * (retain_accuracy / retain_reference) * (test_accuracy / test_reference)


def _epsilon_by_counts(positives: int, negatives: int, delta: float) -> np.ndarray:
  """Epsilon of a rule by (positives accepted, negatives accepted), f64[positives + 1, negatives + 1]; NaN: left out."""
  fnr = 1 - np.arange(positives + 1)[:, None] / positives
  fpr = np.arange(negatives + 1)[None, :] / negatives
  with np.errstate(divide="ignore", invalid="ignore"):  # nan where a rate is too close to 1 for one of the two bounds
    bounds = np.fmax(np.log(1 - delta - fpr) - np.log(fnr), np.log(1 - delta - fnr) - np.log(fpr))
  epsilons = np.where((fpr > 0) & (fnr > 0), np.maximum(bounds, 0), np.nan)
  epsilons[positives, 0] = np.inf
  return epsilons


def _example_epsilon(unlearned: np.ndarray, retrained: np.ndarray, tables) -> float:
  """The largest epsilon of any rule on two sorted samples; infinite when they can be told apart without error."""
  narrow, wide = sorted((unlearned, retrained), key=np.ptp)
  if np.ptp(narrow) < 0.01 * np.ptp(wide):
    return np.inf
  if np.ptp(wide) == 0:
    return 0.0 if narrow[0] == wide[0] else np.inf
  high, low = (retrained, unlearned) if np.median(retrained) > np.median(unlearned) else (unlearned, retrained)
  found = [*_interval_epsilons(narrow, wide, tables), _threshold_epsilons(high, low, tables)]
  found = np.array([np.nan if np.isnan(x).all() else np.nanmax(x) for x in found])
  return np.nan if np.isnan(found).all() else float(np.nanmax(found))


def _threshold_epsilons(high: np.ndarray, low: np.ndarray, tables) -> np.ndarray:
  """Rules "at least t is `high`", for t on a grid over both samples."""
  start, stop = min(high[0], low[0]), max(high[-1], low[-1])
  grid = np.linspace(start, stop, math.ceil((stop - start) * _PER_UNIT))
  accepted = [len(x) - np.searchsorted(x, grid) for x in (high, low)]
  return tables[len(high), len(low)][accepted[0], accepted[1]]


def _interval_epsilons(narrow: np.ndarray, wide: np.ndarray, tables):
  """Rules "between l and r is `narrow`", for intervals about as wide as its range, a block of right ends at a time."""
  width = np.ptp(narrow)
  start, stop = narrow[0] + width - _BUFFER, narrow[-1] + _BUFFER
  grid = np.linspace(start, stop, math.ceil((stop - start) * _PER_UNIT))
  offsets = np.linspace(-_BUFFER, _BUFFER, math.ceil(2 * _BUFFER * _PER_UNIT)) - width
  for rights in np.array_split(grid, math.ceil(len(grid) / _BLOCK)):
    lefts = rights[:, None] + offsets
    yield tables[len(narrow), len(wide)][_count(narrow, lefts, rights), _count(wide, lefts, rights)]


def _count(sample: np.ndarray, lefts: np.ndarray, rights: np.ndarray) -> np.ndarray:
  """Values of a sorted sample in [left, right], int[R, L]; 0 for intervals that are empty."""
  below_right = np.searchsorted(sample, rights, side="right")[:, None]
  return np.maximum(below_right - np.searchsorted(sample, lefts, side="left"), 0)
