"""Membership attacks on losses: forget set against held-out data."""

from __future__ import annotations

import math

import numpy as np

from unlearnjax.attacks.roc import RocReport, roc_report
from unlearnjax.core import check
from unlearnjax.metrics import inputs


def loss_mia(forget_losses, heldout_losses, *, splits: int = 10, test_size: float = 0.1, seed: int = 0) -> np.ndarray:
  """Accuracy of a logistic regression that tells forget from held-out losses, fractions in [0, 1]; 0.5 is ideal.

  The larger set is subsampled to the size of the smaller, losses are clipped to [-100, 100], and the accuracy is
  measured on `splits` stratified random splits. Held-out examples should be distributed like the forget set (for a
  forgotten class: test examples of that class). Source: Kurmanji et al. 2023 (SCRUB), arXiv:2302.09880, and the
  NeurIPS 2023 unlearning challenge's starting kit.

  Args:
    forget_losses: f[F] or f[F, 1], per-example cross entropy of the unlearned model.
    heldout_losses: f[H] or f[H, 1].
    splits: number of random splits >= 1.
    test_size: share of examples on which the attack is judged, in (0, 1).
    seed: of the subsample and the splits.

  Returns:
    f64[splits]; report the mean.

  Raises:
    ValueError: arrays that are empty, not vectors or hold NaN; too few losses for a test half of each kind.

  Example:
    >>> low, high = np.linspace(0, 1, 100), np.linspace(5, 6, 100)
    >>> float(loss_mia(low, high).mean())
    1.0
  """
  from sklearn.linear_model import LogisticRegression
  from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

  check.positive("splits", splits)
  check.fraction("test_size", test_size, one=False)
  forget = inputs.host_vector("forget_losses", forget_losses, infinite=True)
  heldout = inputs.host_vector("heldout_losses", heldout_losses, infinite=True)
  size = min(len(forget), len(heldout))
  tested = math.ceil(2 * size * test_size)
  if min(tested, 2 * size - tested) < 2:
    raise ValueError(
      f"forget_losses and heldout_losses need more examples to be split: got {len(forget)} and {len(heldout)}, "
      f"of which {tested} of {2 * size} would be tested (test_size={test_size})"
    )
  rng = np.random.default_rng(seed)
  forget, heldout = (x if len(x) == size else rng.choice(x, size, replace=False) for x in (forget, heldout))
  losses = np.clip(np.concatenate([heldout, forget]), -100, 100)[:, None]
  forgotten = np.repeat([0, 1], size)
  folds = StratifiedShuffleSplit(n_splits=splits, test_size=test_size, random_state=seed)
  return cross_val_score(LogisticRegression(), losses, forgotten, cv=folds, scoring="accuracy")


def forest_mia(
  retain_losses, heldout_losses, forget_losses, test_losses, *, trees: int = 100, seed: int = 0
) -> RocReport:
  """How well a random forest that knows retain from held-out losses tells forget from test losses; AUC 0.5 is ideal.

  Unlike `loss_mia` the attack never sees a forget or test example while it is fitted. Source: De Min et al. 2024,
  arXiv:2407.12069, whose code reports the best of six forests; here it is one.

  Args:
    retain_losses: f[R], members that fit the attack.
    heldout_losses: f[H], non-members that fit the attack (validation).
    forget_losses: f[F], judged; positives.
    test_losses: f[T], judged; negatives.
    trees: number of trees >= 1.
    seed: of the forest.

  Raises:
    ValueError: arrays that are empty, not vectors or hold numbers that are not finite; trees < 1.

  Example:
    >>> low, high = np.linspace(0, 1, 50), np.linspace(5, 6, 50)
    >>> forest_mia(low, high, low, high).auc
    1.0
  """
  from sklearn.ensemble import RandomForestClassifier

  check.positive("trees", trees)
  given = {
    "retain_losses": retain_losses,
    "heldout_losses": heldout_losses,
    "forget_losses": forget_losses,
    "test_losses": test_losses,
  }
  retain, heldout, forget, test = (inputs.host_vector(name, x) for name, x in given.items())
  forest = RandomForestClassifier(n_estimators=trees, random_state=seed)
  forest.fit(np.concatenate([retain, heldout])[:, None], np.repeat([1, 0], [len(retain), len(heldout)]))
  scores = forest.predict_proba(np.concatenate([forget, test])[:, None])[:, 1]
  return roc_report(scores, np.repeat([True, False], [len(forget), len(test)]))
