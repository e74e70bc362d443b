"""Metrics: plain arrays in, numbers out, each with its direction, range and source.

Scores of arrays are pure and run under `jit`. What is read off an accuracy matrix or a curve, intervals, relearn times,
tests of samples and texts are arithmetic on the host, in float64. Attacks, which fit something to tell members from
others, are in `unlearnjax.attacks`.
"""

from unlearnjax.metrics.answers import AnswerScores, answer_scores, normalized_logp
from unlearnjax.metrics.anytime import average_anytime_accuracy, min_acc, wc_acc, wf, wp
from unlearnjax.metrics.approximate import Candidate, TextFit, approximate_gap, approximate_retraining, text_fit
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
from unlearnjax.metrics.deletion import common_interval, deletion_utility_auc
from unlearnjax.metrics.distance import LayerDistance, completeness, layer_distance
from unlearnjax.metrics.divergence import activation_distance, information_left, js_divergence, kl, wasserstein1, zrf
from unlearnjax.metrics.drift import module_drift, switch_sensitivity
from unlearnjax.metrics.entropy import membership_entropy, modified_entropy
from unlearnjax.metrics.extraction import extraction_likelihoods, greedy_ranks
from unlearnjax.metrics.gaps import aus, average_gap, tow, tow_mia
from unlearnjax.metrics.influence import (
  LeaveOneOut,
  gradient_influence,
  influence_agreement,
  leave_one_out,
  untrac,
  untrac_inv,
)
from unlearnjax.metrics.intervals import Interval, MeanInterval, binomial_ci, bootstrap_ci, mean_ci
from unlearnjax.metrics.klom import klom
from unlearnjax.metrics.leak import priv_leak
from unlearnjax.metrics.linear_theory import best_order, linear_forgetting, linear_generalization, linear_losses
from unlearnjax.metrics.memorization import (
  exact_memorization,
  extraction_likelihood,
  extraction_strength,
  ngram_entropy,
  ngram_overlap,
)
from unlearnjax.metrics.overlap import knowledge_memorization, rouge, squad_f1, verbatim_memorization
from unlearnjax.metrics.privacy import noise_multiplier, noisy_gd_rdp, rdp_epsilon, removal_epsilon
from unlearnjax.metrics.ranking import mean_average_precision, mean_reciprocal_rank, target_ranks, top_hit_ratio
from unlearnjax.metrics.regression import mean_absolute_error, mean_squared_error
from unlearnjax.metrics.relearn import anamnesis_index, steps_to
from unlearnjax.metrics.skills import TwoWay, forget_gap, forget_ratio, two_way
from unlearnjax.metrics.truth import (
  ForgetQuality,
  answer_probability,
  forget_quality,
  harmonic_mean,
  model_utility,
  truth_ratio,
  truth_score,
)
from unlearnjax.metrics.variance import total_variance

__all__ = [
  "AnswerScores",
  "Candidate",
  "ForgetQuality",
  "Interval",
  "LayerDistance",
  "LeaveOneOut",
  "MeanInterval",
  "TextFit",
  "TwoWay",
  "accuracy",
  "accuracy_matrix",
  "activation_distance",
  "anamnesis_index",
  "answer_probability",
  "answer_scores",
  "approximate_gap",
  "approximate_retraining",
  "aus",
  "average_accuracy",
  "average_anytime_accuracy",
  "average_gap",
  "average_incremental_accuracy",
  "backward_transfer",
  "best_order",
  "binomial_ci",
  "bootstrap_ci",
  "common_interval",
  "completeness",
  "confusion",
  "corrected_area",
  "deletion_utility_auc",
  "exact_memorization",
  "extraction_likelihood",
  "extraction_likelihoods",
  "extraction_strength",
  "forget_count",
  "forget_gap",
  "forget_quality",
  "forget_ratio",
  "forgetting",
  "forward_transfer",
  "gradient_influence",
  "greedy_ranks",
  "harmonic_mean",
  "influence_agreement",
  "information_left",
  "interclass_confusion_error",
  "intransigence",
  "js_divergence",
  "kl",
  "klom",
  "knowledge_memorization",
  "layer_distance",
  "learning_accuracy",
  "leave_one_out",
  "linear_forgetting",
  "linear_generalization",
  "linear_losses",
  "mean_absolute_error",
  "mean_average_precision",
  "mean_ci",
  "mean_reciprocal_rank",
  "mean_squared_error",
  "membership_entropy",
  "min_acc",
  "model_utility",
  "modified_entropy",
  "module_drift",
  "ngram_entropy",
  "ngram_overlap",
  "noise_multiplier",
  "noisy_gd_rdp",
  "normalized_logp",
  "plasticity",
  "priv_leak",
  "rdp_epsilon",
  "removal_epsilon",
  "rouge",
  "squad_f1",
  "steps_to",
  "switch_sensitivity",
  "target_ranks",
  "text_fit",
  "top_hit_ratio",
  "total_variance",
  "tow",
  "tow_mia",
  "truth_ratio",
  "truth_score",
  "two_way",
  "ua_ra_ta",
  "unlearning_accuracy",
  "untrac",
  "untrac_inv",
  "verbatim_memorization",
  "wasserstein1",
  "wc_acc",
  "wf",
  "wp",
  "zrf",
]
