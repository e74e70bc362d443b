"""Uncertainty of reported numbers: over seeds, over examples, over binomial counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unlearnjax.core import check
from unlearnjax.metrics import inputs


class MeanInterval(NamedTuple):
  """mean +- half_width."""

  mean: float | np.ndarray
  half_width: float | np.ndarray


class Interval(NamedTuple):
  """[low, high]."""

  low: float
  high: float


def mean_ci(values, level: float = 0.95) -> MeanInterval:
  """Mean over seeds and the half-width of its Student-t confidence interval, in the unit of the values.

  half_width = t_{n-1}((1 + level) / 2) * sd / sqrt(n), sd with n - 1; NaN for a single seed.

  Args:
    values: f[n] or f[n, ...], seeds first.
    level: confidence in (0, 1).

  Raises:
    ValueError: no value, level outside (0, 1).

  Example:
    >>> mean, half = mean_ci([1.0, 2.0, 3.0])
    >>> round(mean, 4), round(half, 4)
    (2.0, 2.4841)
  """
  from scipy.stats import t

  check.fraction("level", level, one=False)
  values = np.asarray(values, np.float64)
  if values.ndim < 1:
    raise ValueError("values must be f[n, ...], one entry a seed, got a scalar")
  inputs.not_empty("values", values)
  count = len(values)
  mean = values.mean(0)
  half = np.full_like(mean, np.nan)
  if count > 1:
    half = t.ppf((1 + level) / 2, count - 1) * values.std(0, ddof=1) / np.sqrt(count)
  return MeanInterval(mean, half) if values.ndim > 1 else MeanInterval(float(mean), float(half))


def bootstrap_ci(
  values, statistic: Callable = np.mean, *, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> Interval:
  """Percentile bootstrap interval of a statistic of one model's per-example scores.

  It covers the choice of examples, not of training seeds: use `mean_ci` over seeds for those.

  Args:
    values: f[n] or f[n, ...]; rows are resampled with replacement.
    statistic: from an array like `values` to a number.
    level: confidence in (0, 1).
    samples: number of resamples >= 1.
    seed: of the resampling.

  Raises:
    ValueError: no value, level outside (0, 1), samples < 1.

  Example:
    >>> bootstrap_ci([3.0, 3.0, 3.0])
    Interval(low=3.0, high=3.0)
  """
  check.fraction("level", level, one=False)
  check.positive("samples", samples)
  values = np.asarray(values)
  if values.ndim < 1:
    raise ValueError("values must be f[n, ...], one row an example, got a scalar")
  inputs.not_empty("values", values)
  rng = np.random.default_rng(seed)
  draws = [float(statistic(values[rng.integers(0, len(values), len(values))])) for _ in range(samples)]
  return Interval(*(float(q) for q in np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])))


def binomial_ci(successes: int, trials: int, level: float = 0.95) -> Interval:
  """Wilson score interval of a proportion, e.g. an accuracy over `trials` independent examples; fractions in [0, 1].

  Args:
    successes: in [0, trials].
    trials: >= 1.
    level: confidence in (0, 1).

  Raises:
    ValueError: trials < 1, successes outside [0, trials], level outside (0, 1).

  Example:
    >>> low, high = binomial_ci(90, 100)
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
  """
  from scipy.stats import norm

  check.fraction("level", level, one=False)
  check.positive("trials", trials)
  if not 0 <= successes <= trials:
    raise ValueError(f"successes must be in [0, trials] = [0, {trials}], got {successes}")
  if successes != int(successes):
    raise ValueError(f"successes must be a count, not a share, got {successes}")
  z2 = norm.ppf((1 + level) / 2) ** 2
  rate = successes / trials
  center = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
  half = np.sqrt(z2 * (rate * (1 - rate) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
  return Interval(float(max(center - half, 0.0)), float(min(center + half, 1.0)))
