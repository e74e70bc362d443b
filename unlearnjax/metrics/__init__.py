"""Metrics: plain arrays in, numbers out, each with its direction, range and source.

Array scores are pure and run under `jit`; intervals and relearn times are host-side arithmetic in float64. Attacks,
which fit something to tell members from others, are in `unlearnjax.attacks`.
"""

from unlearnjax.metrics.anytime import average_anytime_accuracy, min_acc, wc_acc, wf, wp
from unlearnjax.metrics.classification import accuracy, ua_ra_ta, unlearning_accuracy
from unlearnjax.metrics.confusion import confusion, corrected_area, forget_count, interclass_confusion_error
from unlearnjax.metrics.continual import (
  accuracy_matrix,
  average_accuracy,
  average_incremental_accuracy,
  backward_transfer,
  forgetting,
  forward_transfer,
  intransigence,
  learning_accuracy,
  plasticity,
)
from unlearnjax.metrics.distance import LayerDistance, completeness, layer_distance
from unlearnjax.metrics.divergence import activation_distance, information_left, js_divergence, kl, wasserstein1, zrf
from unlearnjax.metrics.entropy import membership_entropy, modified_entropy
from unlearnjax.metrics.gaps import aus, average_gap, tow, tow_mia
from unlearnjax.metrics.intervals import Interval, MeanInterval, binomial_ci, bootstrap_ci, mean_ci
from unlearnjax.metrics.klom import klom
from unlearnjax.metrics.privacy import noise_multiplier, noisy_gd_rdp, rdp_epsilon, removal_epsilon
from unlearnjax.metrics.regression import mean_absolute_error, mean_squared_error
from unlearnjax.metrics.relearn import anamnesis_index, steps_to

__all__ = [
  "Interval",
  "LayerDistance",
  "MeanInterval",
  "accuracy",
  "accuracy_matrix",
  "activation_distance",
  "anamnesis_index",
  "aus",
  "average_accuracy",
  "average_anytime_accuracy",
  "average_gap",
  "average_incremental_accuracy",
  "backward_transfer",
  "binomial_ci",
  "bootstrap_ci",
  "completeness",
  "confusion",
  "corrected_area",
  "forget_count",
  "forgetting",
  "forward_transfer",
  "information_left",
  "interclass_confusion_error",
  "intransigence",
  "js_divergence",
  "kl",
  "klom",
  "layer_distance",
  "learning_accuracy",
  "mean_absolute_error",
  "mean_ci",
  "mean_squared_error",
  "membership_entropy",
  "min_acc",
  "modified_entropy",
  "noise_multiplier",
  "noisy_gd_rdp",
  "plasticity",
  "rdp_epsilon",
  "removal_epsilon",
  "steps_to",
  "tow",
  "tow_mia",
  "ua_ra_ta",
  "unlearning_accuracy",
  "wasserstein1",
  "wc_acc",
  "wf",
  "wp",
  "zrf",
]
