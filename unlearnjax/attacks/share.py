"""Attacks that report which share of the forget set is taken for members (or not), by one fitted classifier."""

from __future__ import annotations

import numpy as np

from unlearnjax.attacks.features import Predicted, feature
from unlearnjax.attacks.svc import fit_svc
from unlearnjax.core import check
from unlearnjax.metrics import inputs


def entropy_mia(retain_probs, test_probs, forget_probs, *, classifier: str = "svc") -> float:
  """Share of the forget set that an attacker on entropies takes for members, a fraction in [0, 1].

  Lower is better down to the value of the retrained model. Source: Chundawat et al. 2023 (bad teacher),
  arXiv:2205.08096.

  Args:
    retain_probs: f[R, C] of the unlearned model; members.
    test_probs: f[T, C]; non-members.
    forget_probs: f[F, C]; judged.
    classifier: "svc" as in the source, or "logistic" (balanced), which the SSD reference uses.

  Raises:
    ValueError: an empty set, rows that are not probabilities, an unknown classifier.

  Example:
    >>> known, unseen = (np.tile([[p, 1 - p]], (50, 1)) for p in (0.99, 0.5))
    >>> entropy_mia(known, unseen, known), entropy_mia(known, unseen, unseen)
    (1.0, 0.0)
  """
  check.one_of("classifier", classifier, ("svc", "logistic"))
  sets = {"retain_probs": retain_probs, "test_probs": test_probs, "forget_probs": forget_probs}
  for name, probs in sets.items():
    inputs.probabilities(name, probs)
  entropies = [feature("entropy", Predicted(np.asarray(p).astype(np.float64), np.zeros(0, int))) for p in sets.values()]
  members, others, target = entropies
  fit = fit_svc if classifier == "svc" else _fit_logistic
  return float(fit(members, others).predict(target).mean())


def regression_mia(retain_losses, test_losses, forget_losses) -> float:
  """Share of the forget set that an SVC on absolute errors takes for members, a fraction in [0, 1].

  For regressors. Lower is better down to the value of the retrained model. Source: Tarun et al. 2023, arXiv:2210.08196.

  Args:
    retain_losses: f[R] absolute errors of the unlearned model; members.
    test_losses: f[T]; non-members.
    forget_losses: f[F]; judged.

  Raises:
    ValueError: arrays that are empty, not vectors, or hold NaN.

  Example:
    >>> low, high = np.linspace(0, 1, 50), np.linspace(5, 6, 50)
    >>> regression_mia(low, high, low), regression_mia(low, high, high)
    (1.0, 0.0)
  """
  sets = {"retain_losses": retain_losses, "test_losses": test_losses, "forget_losses": forget_losses}
  members, others, target = (inputs.host_vector(name, losses)[:, None] for name, losses in sets.items())
  return float(fit_svc(members, others).predict(target).mean())


def transfer_forgetting_rate(member_probs, test_probs, forget_probs) -> float:
  """Fr: share of the forget set called non-members by an attack fitted on the ORIGINAL model, a fraction in [0, 1].

  A linear SVM learns members from non-members on the original model's probabilities and is carried over to the
  unlearned model's. Higher is better up to the value of the retrained model; it can be 0 although the accuracy is.
  Source: Chang et al. 2024, arXiv:2405.15662.

  Args:
    member_probs: f[M, C] of the original model on training examples.
    test_probs: f[T, C] of the original model on unseen examples.
    forget_probs: f[F, C] of the unlearned model on the forget set.

  Raises:
    ValueError: an empty set, rows that are not probabilities, widths that differ.

  Example:
    >>> known, unseen = (np.tile([[p, 1 - p]], (50, 1)) for p in (0.99, 0.5))
    >>> transfer_forgetting_rate(known, unseen, unseen), transfer_forgetting_rate(known, unseen, known)
    (1.0, 0.0)
  """
  from sklearn.svm import SVC

  sets = {"member_probs": member_probs, "test_probs": test_probs, "forget_probs": forget_probs}
  for name, probs in sets.items():
    inputs.probabilities(name, probs)
  members, others, target = (np.asarray(p).astype(np.float64) for p in sets.values())
  if len({x.shape[1] for x in (members, others, target)}) > 1:
    raise ValueError(
      f"all sets must have the same number of classes, got {[x.shape[1] for x in (members, others, target)]}"
    )
  labels = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
  attack = SVC(C=1.0, kernel="linear").fit(np.concatenate([members, others]), labels)
  return 1 - float(attack.predict(target).mean())


def _fit_logistic(members: np.ndarray, others: np.ndarray):
  from sklearn.linear_model import LogisticRegression

  labels = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
  return LogisticRegression(class_weight="balanced").fit(np.concatenate([members, others]), labels)
