"""Objectives: a loss bound to a model and a role, `(params, role batch, view) -> (scalar, aux)`.

Every factory takes the model function first and returns a function that is differentiable in `params`. Means are taken
over valid rows; `aux["weight"]` is their number and `aux["state"]` the new model state, where there is one. Frozen
models are read from `view.refs`, random numbers from `view.rng`. On language, means are taken over scored tokens or
whole answers: `objectives.tokens` says what a role batch holds.
"""

from unlearnjax.objectives.adversary import adversary
from unlearnjax.objectives.algebra import added, negated, penalty, per_task, scaled
from unlearnjax.objectives.anchor import anchored
from unlearnjax.objectives.bind import column, eval_view, forward, frozen, mean, total
from unlearnjax.objectives.boundary import boundary_shrink, fgsm, input_curvature, shadow_class
from unlearnjax.objectives.cached import per_row, with_reference
from unlearnjax.objectives.distill import attention_distill, bad_teacher, distill, teacher_loss
from unlearnjax.objectives.laf import alignment, extraction, feature_vae
from unlearnjax.objectives.language import (
  ceu,
  kl_min,
  logit_margin,
  nll,
  random_tokens,
  rmu,
  satimp,
  signed_nll,
  token_loss,
  undial,
  uniform,
  wga,
)
from unlearnjax.objectives.marked import marked
from unlearnjax.objectives.oneshot import error_maximizing_noise, lipschitz
from unlearnjax.objectives.perturbed import perturbed
from unlearnjax.objectives.preference import flat, idk_dpo, npo, simnpo
from unlearnjax.objectives.prototype import class_gaussian, prototype, surrogate_distill
from unlearnjax.objectives.recall import answered, labels_and_old_answers
from unlearnjax.objectives.relabelled import false_nll, noisy_nll, with_adversarial_tokens, with_random_tokens
from unlearnjax.objectives.retention import feature_distill, one_vs_all, retained
from unlearnjax.objectives.row_weighted import row_weighted
from unlearnjax.objectives.supervised import cross_entropy, random_label, random_labels, supervised, uncertain
from unlearnjax.objectives.tokens import (
  answer,
  answer_batch,
  need_answers,
  reference_logp,
  row_logp,
  scored,
  token_mean,
)

__all__ = [
  "answered",
  "labels_and_old_answers",
  "added",
  "adversary",
  "alignment",
  "anchored",
  "answer",
  "answer_batch",
  "attention_distill",
  "bad_teacher",
  "boundary_shrink",
  "ceu",
  "class_gaussian",
  "column",
  "cross_entropy",
  "distill",
  "error_maximizing_noise",
  "eval_view",
  "extraction",
  "false_nll",
  "feature_distill",
  "feature_vae",
  "fgsm",
  "flat",
  "forward",
  "frozen",
  "idk_dpo",
  "input_curvature",
  "kl_min",
  "lipschitz",
  "logit_margin",
  "marked",
  "mean",
  "need_answers",
  "negated",
  "nll",
  "noisy_nll",
  "npo",
  "one_vs_all",
  "penalty",
  "per_row",
  "per_task",
  "perturbed",
  "prototype",
  "random_label",
  "random_labels",
  "random_tokens",
  "reference_logp",
  "retained",
  "rmu",
  "row_logp",
  "row_weighted",
  "satimp",
  "scaled",
  "scored",
  "shadow_class",
  "signed_nll",
  "simnpo",
  "supervised",
  "surrogate_distill",
  "teacher_loss",
  "token_loss",
  "token_mean",
  "total",
  "uncertain",
  "undial",
  "uniform",
  "wga",
  "with_adversarial_tokens",
  "with_random_tokens",
  "with_reference",
]
