"""Objectives: a loss bound to a model and a role, `(params, role batch, view) -> (scalar, aux)`.

Every factory takes the model function first and returns a function that is differentiable in `params`. Means are taken
over valid rows; `aux["weight"]` is their number and `aux["state"]` the new model state, where there is one. Frozen
models are read from `view.refs`, random numbers from `view.rng`.
"""

from unlearnjax.objectives.adversary import adversary
from unlearnjax.objectives.algebra import added, negated, penalty, per_task, scaled
from unlearnjax.objectives.bind import column, eval_view, forward, frozen, mean, total
from unlearnjax.objectives.boundary import boundary_shrink, fgsm, input_curvature, shadow_class
from unlearnjax.objectives.distill import attention_distill, bad_teacher, distill, teacher_loss
from unlearnjax.objectives.laf import alignment, extraction, feature_vae
from unlearnjax.objectives.marked import marked
from unlearnjax.objectives.oneshot import error_maximizing_noise, lipschitz
from unlearnjax.objectives.prototype import class_gaussian, prototype, surrogate_distill
from unlearnjax.objectives.supervised import cross_entropy, nll, random_label, random_labels, supervised, uncertain

__all__ = [
  "added",
  "adversary",
  "alignment",
  "attention_distill",
  "bad_teacher",
  "boundary_shrink",
  "class_gaussian",
  "column",
  "cross_entropy",
  "distill",
  "error_maximizing_noise",
  "eval_view",
  "extraction",
  "feature_vae",
  "fgsm",
  "forward",
  "frozen",
  "input_curvature",
  "lipschitz",
  "marked",
  "mean",
  "negated",
  "nll",
  "penalty",
  "per_task",
  "prototype",
  "random_label",
  "random_labels",
  "scaled",
  "shadow_class",
  "supervised",
  "surrogate_distill",
  "teacher_loss",
  "total",
  "uncertain",
]
