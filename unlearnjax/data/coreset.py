"""UPCORE: a forget set without its outliers. Patil et al. 2025, arXiv:2502.15082 (paper 38).

The damage that unlearning does elsewhere grows with the variance of the forget set's hidden states. What is left out is
forgotten along with the core, as far as unlearning generalises.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from unlearnjax.core import Examples, Model, Run, as_examples, check, outputs
from unlearnjax.metrics.variance import total_variance

DETECTORS = ("isolation_forest", "lof", "one_class_svm", "mahalanobis", "random")
"""What `core_rows` can tell outliers by; "random" is the control."""
NEIGHBOURS, COMPONENTS = 20, 2


class Coreset(NamedTuple):
  """A forget set in two parts.

  Attributes:
    core: what is to be unlearned.
    pruned: the outliers, in the order of the source; measure that they are forgotten too.
    variance: total variance of the hidden states of all, see `metrics.total_variance`.
    core_variance: that of the core.
  """

  core: Examples
  pruned: Examples
  variance: float
  core_variance: float


def core_rows(
  hidden: Any, contamination: float = 0.1, *, detector: str = "isolation_forest", seed: int = 42
) -> np.ndarray:
  """Which rows are no outliers.

  Every detector ranks the rows, and the ceil(contamination * (N - 1)) least typical ones go: as many as scikit-learn's
  isolation forest and local outlier factor of that contamination flag, where no two scores are equal, and the same
  number for all detectors, so that they can be compared. (The authors' script cuts the one-class SVM at 0 and the
  Mahalanobis distance at its chi^2 median.)

  Args:
    hidden: f[N, d] hidden states, N >= 2.
    contamination: share of outliers, in [0, 1); 0 keeps all.
    detector: "isolation_forest", the paper's; its ablations "lof" (20 neighbours), "one_class_svm" (RBF, nu =
      contamination) and "mahalanobis" (on two principal components); or "random".
    seed: of the forest and of the random control.

  Returns:
    bool[N], True for the core.

  Raises:
    ValueError: hidden states that are no finite matrix of at least two rows, an unknown detector.

  Example:
    >>> far = np.concatenate([np.random.default_rng(0).normal(size=(19, 3)), np.full((1, 3), 9.0)])
    >>> np.flatnonzero(~core_rows(far, 0.05)).tolist(), int((~core_rows(far, 0.05, detector="random")).sum())
    ([19], 1)
  """
  check.one_of("detector", detector, DETECTORS)
  check.fraction("contamination", contamination, zero=True, one=False)
  hidden = np.asarray(hidden, np.float64)
  if hidden.ndim != 2 or len(hidden) < 2 or not np.isfinite(hidden).all():
    raise ValueError(f"hidden must be finite numbers f[N, d] with N >= 2, got shape {hidden.shape}")
  count = math.ceil(round(contamination * (len(hidden) - 1), 9))
  keep = np.ones(len(hidden), bool)
  if count:
    keep[np.argsort(_typical(hidden, contamination, detector, seed), kind="stable")[:count]] = False
  return keep


def upcore(
  model: Model,
  source: Any,
  site: str,
  *,
  contamination: float = 0.1,
  detector: str = "isolation_forest",
  last: str = "prompt",
  seed: int = 42,
  run: Run | None = None,
) -> Coreset:
  """Splits a forget set by the hidden states of the model that is to be unlearned.

  Args:
    model: the model before unlearning, a classifier or a language model.
    source: the forget set, a `Source` of at least two examples.
    site: the activation, f[N, d] or f[N, T, d]; the paper takes the second to last layer of a language model.
    contamination: share of outliers, see `core_rows`; the paper's 0.1, ablated from 0.05 to 0.5.
    detector: see `core_rows`.
    last: for f[N, T, d], the column that counts the tokens of the question: the state at its last one is read, so that
      the answer does not matter.
    seed: see `core_rows`.
    run: batch size, mesh, ledger.

  Raises:
    ValueError: an activation of another shape, a missing column, or what `core_rows` raises.

  Example:
    >>> import jax
    >>> import unlearnjax as uj
    >>> data = uj.data.load("digits")
    >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10)
    >>> split = upcore(fn.init(jax.random.key(0)), uj.data.forget_class(data, 3).forget, "head:in")
    >>> len(split.core), len(split.pruned), split.core_variance < split.variance
    (131, 15, True)
  """
  source = as_examples(source)
  hidden = hidden_states(model, source, site, last=last, run=run)
  keep = core_rows(hidden, contamination, detector=detector, seed=seed)
  return Coreset(
    source.where(keep), source.where(~keep), float(total_variance(hidden)), float(total_variance(hidden[keep]))
  )


def hidden_states(model: Model, source: Any, site: str, *, last: str = "prompt", run: Run | None = None) -> np.ndarray:
  """f32[N, d] of an activation; of a sequence f[N, T, d] the state at position `source.column(last) - 1`."""
  source = as_examples(source)
  hidden = outputs(model, source, run, capture=(site,), name="hidden")[site]
  if hidden.ndim == 3:
    if last not in source.columns:
      raise ValueError(f"last must name the column of question lengths, one of {sorted(source.columns)}, got {last!r}")
    hidden = hidden[np.arange(len(hidden)), source.column(last) - 1]
  if hidden.ndim != 2:
    raise ValueError(f"the activation at {site!r} must be [N, d] or [N, T, d], got shape {hidden.shape}")
  return hidden


def _typical(hidden: np.ndarray, contamination: float, detector: str, seed: int) -> np.ndarray:
  """f[N], lowest for outliers."""
  if detector == "random":
    return np.random.default_rng(seed).permutation(len(hidden))
  if detector == "mahalanobis":
    left, _, _ = np.linalg.svd(hidden - hidden.mean(0), full_matrices=False)
    return -np.sum(left[:, :COMPONENTS] ** 2, axis=1)  # whitened principal components
  if detector == "isolation_forest":
    from sklearn.ensemble import IsolationForest

    return IsolationForest(random_state=seed).fit(hidden).score_samples(hidden)
  if detector == "lof":
    from sklearn.neighbors import LocalOutlierFactor

    found = LocalOutlierFactor(n_neighbors=min(NEIGHBOURS, len(hidden) - 1)).fit(hidden)
    return found.negative_outlier_factor_
  from sklearn.svm import OneClassSVM

  return OneClassSVM(kernel="rbf", nu=contamination).fit(hidden).score_samples(hidden)
