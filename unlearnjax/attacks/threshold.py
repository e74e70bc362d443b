"""Membership attacks by one threshold a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unlearnjax.attacks.features import feature, predicted, same_classes
from unlearnjax.core import check

# higher means "member" after the sign
_SIGN = {"correctness": 1, "confidence": 1, "entropy": -1, "m_entropy": -1}


class ThresholdResult(NamedTuple):
  """Success of a threshold attack, fractions in [0, 1].

  Attributes:
    balanced_accuracy: (tpr + tnr) / 2; 0.5 is chance.
    tpr: share of target members called members.
    tnr: share of target non-members called non-members.
  """

  balanced_accuracy: float
  tpr: float
  tnr: float


def threshold_mia(
  shadow_members,
  shadow_nonmembers,
  target_members,
  target_nonmembers,
  *,
  kinds: Sequence[str] = ("correctness", "confidence", "entropy", "m_entropy"),
) -> dict[str, ThresholdResult]:
  """Calls an example a member when its score passes the threshold of its class; chance is 0.5, and the ideal.

  For each class the threshold on the confidence, the negative entropy or the negative modified entropy is the one with
  the best balanced accuracy on the shadow sets; a class that lacks shadow members or non-members takes the threshold of
  all classes together. "correctness" calls exactly the rightly classified examples members. Source: Song & Mittal 2021,
  arXiv:2003.10595.

  Args:
    shadow_members: (probs f[N, C], labels int[N]) of examples known to be members.
    shadow_nonmembers: the same for non-members.
    target_members: members to be judged; for unlearning, the forget set.
    target_nonmembers: non-members to be judged.
    kinds: the attacks to run.

  Raises:
    ValueError: an empty set, rows that are not probabilities, labels or widths that do not fit, unknown kinds.

  Example:
    >>> known, unseen = (np.tile([[p, 1 - p]], (10, 1)) for p in (0.9, 0.6))
    >>> zeros = np.zeros(10, int)
    >>> threshold_mia((known, zeros), (unseen, zeros), (known, zeros), (unseen, zeros), kinds=("confidence",))
    {'confidence': ThresholdResult(balanced_accuracy=1.0, tpr=1.0, tnr=1.0)}
  """
  given = {
    "shadow_members": shadow_members,
    "shadow_nonmembers": shadow_nonmembers,
    "target_members": target_members,
    "target_nonmembers": target_nonmembers,
  }
  for name, pair in given.items():
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
      raise ValueError(f"{name} must be a pair (probs f[N, C], labels int[N]), got {type(pair).__name__}")
  sets = {name: predicted(name, *pair) for name, pair in given.items()}
  same_classes(**sets)
  classes = sets["shadow_members"].probs.shape[1]
  results = {}
  for kind in kinds:
    check.one_of("kinds", kind, tuple(_SIGN))
    scores = {name: _SIGN[kind] * feature(kind, s)[:, 0] for name, s in sets.items()}
    if kind == "correctness":
      thresholds = np.full(classes, 0.5)
    else:
      members, others = sets["shadow_members"], sets["shadow_nonmembers"]
      thresholds = class_thresholds(
        scores["shadow_members"], members.labels, scores["shadow_nonmembers"], others.labels, classes
      )
    called = {name: scores[name] >= thresholds[s.labels] for name, s in sets.items()}
    tpr = float(called["target_members"].mean())
    tnr = 1 - float(called["target_nonmembers"].mean())
    results[kind] = ThresholdResult((tpr + tnr) / 2, tpr, tnr)
  return results


def class_thresholds(
  member_scores: np.ndarray, member_labels: np.ndarray, other_scores: np.ndarray, other_labels: np.ndarray, classes: int
) -> np.ndarray:
  """The threshold of each class with the best balanced accuracy of "score >= threshold means member", f64[classes].

  Example:
    >>> class_thresholds(np.array([2.0, 3.0]), np.zeros(2, int), np.array([0.0, 1.0]), np.zeros(2, int), 1).tolist()
    [2.0]
  """
  everywhere = best_threshold(member_scores, other_scores)
  thresholds = np.full(classes, everywhere)
  for c in range(classes):
    members, others = member_scores[member_labels == c], other_scores[other_labels == c]
    if len(members) and len(others):
      thresholds[c] = best_threshold(members, others)
  return thresholds


def best_threshold(members: np.ndarray, others: np.ndarray) -> float:
  """The observed score with the best balanced accuracy of "score >= threshold means member"; the lowest of equals.

  Example:
    >>> best_threshold(np.array([0.9, 0.8]), np.array([0.1, 0.2]))
    0.8
  """
  members, others = np.sort(members), np.sort(others)
  candidates = np.unique(np.concatenate([members, others]))
  tpr = 1 - np.searchsorted(members, candidates) / len(members)
  tnr = np.searchsorted(others, candidates) / len(others)
  return float(candidates[np.argmax(tpr + tnr)])
