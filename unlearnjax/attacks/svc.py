"""Membership attacks by a support vector classifier on the predictions of one model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearnjax.attacks.features import KINDS, feature, predicted, same_classes
from unlearnjax.core import check


def svc_mia(
  retain_probs,
  retain_labels,
  test_probs,
  test_labels,
  forget_probs,
  forget_labels,
  *,
  kinds: Sequence[str] = KINDS,
  seed: int = 0,
  max_shadow: int = 2000,
  compat: str | None = None,
) -> dict[str, float]:
  """MIA-efficacy: the share of the forget set that an attacker takes for data never trained on, in percent.

  An SVC (C=3, RBF, gamma = 1 / features) learns retain examples (members) from test examples on features of the
  UNLEARNED model, and judges the forget set. In [0, 100]; a model that still knows the forget set is near 0. Ideal: the
  value of the retrained model, about the share of test examples judged the same way; neither 100 nor 50. The literature
  reports "confidence". Source: Jia et al. 2023, arXiv:2304.04934; Fan et al. 2024, arXiv:2310.12508.

  Args:
    retain_probs: f[R, C] probabilities on the retain set; rows sum to 1.
    retain_labels: int[R].
    test_probs: f[T, C].
    test_labels: int[T].
    forget_probs: f[F, C].
    forget_labels: int[F].
    kinds: features, one attack each: "correctness", "confidence" (of the label), "entropy", "m_entropy" (modified
      entropy), "prob" (all C probabilities).
    seed: of the choice of shadow examples.
    max_shadow: at most so many members and as many non-members are drawn, equally many and at random.
    compat: "salun" takes the retain and the test set whole and in order (its caller passes the first T retain rows),
      with that reference's modified entropy.

  Returns:
    {kind: percent}.

  Raises:
    ValueError: an empty set, rows that are not probabilities, labels or widths that do not fit, unknown kinds.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> known, unseen = (rng.uniform(low, low + 0.1, 200) for low in (0.8, 0.5))
    >>> probs = lambda p: np.stack([p, 1 - p], axis=1)
    >>> zeros = np.zeros(200, int)
    >>> svc_mia(probs(known), zeros, probs(unseen), zeros, probs(unseen), zeros, kinds=("confidence", "entropy"))
    {'confidence': 100.0, 'entropy': 100.0}
  """
  check.one_of("compat", compat, (None, "salun"))
  check.positive("max_shadow", max_shadow)
  retain = predicted("retain", retain_probs, retain_labels)
  test = predicted("test", test_probs, test_labels)
  forget = predicted("forget", forget_probs, forget_labels)
  same_classes(retain=retain, test=test, forget=forget)
  if compat is None:
    rng = np.random.default_rng(seed)
    size = min(len(retain), len(test), max_shadow)
    retain, test = (s.take(rng.choice(len(s), size, replace=False)) for s in (retain, test))
  efficacy = {}
  for kind in kinds:
    members, others, target = (feature(kind, s, compat=compat) for s in (retain, test, forget))
    efficacy[kind] = 100 * (1 - float(fit_svc(members, others).predict(target).mean()))
  return efficacy


def training_privacy(
  retain_probs,
  retain_labels,
  test_probs,
  test_labels,
  *,
  kinds: Sequence[str] = KINDS,
  seed: int = 0,
  max_shadow: int = 2000,
) -> dict[str, float]:
  """Accuracy of the same attack on the retain set itself, in percent; 50 is chance and the ideal.

  The SVC of `svc_mia` is trained on n retain and n test examples, n half of the smaller set, and judges the rest; the
  mean of the shares of members and of non-members judged rightly. Source: Jia et al. 2023, arXiv:2304.04934.

  Args:
    retain_probs: f[R, C], R >= 2.
    retain_labels: int[R].
    test_probs: f[T, C], T >= 2.
    test_labels: int[T].
    kinds: as in `svc_mia`.
    seed: of the random halves.
    max_shadow: upper limit of n.

  Returns:
    {kind: percent}.

  Raises:
    ValueError: as `svc_mia`; fewer than two examples in a set.

  Example:
    >>> known, unseen = (np.tile([[p, 1 - p]], (50, 1)) for p in (0.9, 0.6))
    >>> training_privacy(known, np.zeros(50, int), unseen, np.zeros(50, int), kinds=("confidence", "correctness"))
    {'confidence': 100.0, 'correctness': 50.0}
  """
  check.positive("max_shadow", max_shadow)
  retain = predicted("retain", retain_probs, retain_labels)
  test = predicted("test", test_probs, test_labels)
  same_classes(retain=retain, test=test)
  half = min(len(retain) // 2, len(test) // 2, max_shadow)
  if half < 1:
    raise ValueError(f"training_privacy needs two examples in each set, got {len(retain)} retain and {len(test)} test")
  rng = np.random.default_rng(seed)
  retain, test = (s.take(rng.permutation(len(s))) for s in (retain, test))
  accuracy = {}
  for kind in kinds:
    members, others = feature(kind, retain), feature(kind, test)
    attack = fit_svc(members[:half], others[:half])
    said_member = [float(attack.predict(rows[half:]).mean()) for rows in (members, others)]
    accuracy[kind] = 100 * (said_member[0] + 1 - said_member[1]) / 2
  return accuracy


def fit_svc(members: np.ndarray, others: np.ndarray):
  """The SVC of the literature (C=3, RBF, gamma="auto"), fitted to call `members` 1 and `others` 0; f64[N, d] each."""
  from sklearn.svm import SVC

  labels = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
  return SVC(C=3, gamma="auto", kernel="rbf").fit(np.concatenate([members, others]), labels)
