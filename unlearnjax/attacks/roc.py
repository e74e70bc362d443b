"""How well a membership score separates members from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unlearnjax.metrics import inputs


class RocReport(NamedTuple):
  """Fractions in [0, 1].

  Attributes:
    auc: area under the curve; 0.5 is chance.
    accuracy: best balanced accuracy over thresholds, >= 0.5.
    tpr_at: the largest true positive rate whose false positive rate is at most the key.
  """

  auc: float
  accuracy: float
  tpr_at: dict[float, float]


def roc_report(scores, member, *, fprs: Sequence[float] = (0.001, 0.01)) -> RocReport:
  """AUC, best balanced accuracy and the true positive rate at low false positive rates of a membership score.

  An unlearned model is ideal at an AUC of 0.5. A rate is only as fine as 1 / (number of non-members).
  Source: Carlini et al. 2022, arXiv:2112.03570.

  Args:
    scores: f[N], larger means "member".
    member: bool[N], the truth; both kinds must occur.
    fprs: false positive rates at which to report.

  Raises:
    ValueError: NaN scores, lengths that differ, only one kind.

  Example:
    >>> roc_report([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    RocReport(auc=1.0, accuracy=1.0, tpr_at={0.001: 1.0, 0.01: 1.0})
  """
  from sklearn.metrics import auc, roc_curve

  scores = inputs.host_vector("scores", scores, infinite=True)
  member = np.asarray(member)
  if not np.isin(member, (0, 1)).all():
    raise ValueError(f"member must hold True or False, got {member[~np.isin(member, (0, 1))].ravel()[0]!r}")
  member = member.astype(bool)
  if member.shape != scores.shape:
    raise ValueError(f"member must be bool[{len(scores)}] like scores, got shape {member.shape}")
  if member.all() or not member.any():
    raise ValueError(f"member must hold both kinds, got {int(member.sum())} members of {len(member)}")
  fpr, tpr, _ = roc_curve(member, np.nan_to_num(scores, posinf=np.finfo(float).max, neginf=np.finfo(float).min))
  at = {rate: float(tpr[fpr <= rate].max()) for rate in fprs}
  return RocReport(float(auc(fpr, tpr)), float(np.max(1 + tpr - fpr) / 2), at)
