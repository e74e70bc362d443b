"""Losses: arrays in, one number per example out. No model, no reduction, no hidden state.

`objectives` binds them to a model and takes the mean over valid rows. Penalties on parameters return scalars.
"""

from unlearnjax.losses.boundary import curvature_gap, margin_weights, probability_margin
from unlearnjax.losses.classification import (
  absolute_error,
  binary_cross_entropy,
  cross_entropy,
  entropy,
  soft_cross_entropy,
  squared_error,
  unlikelihood,
)
from unlearnjax.losses.distill import bad_teacher_kl, distill_kl, kl_to_probs, reverse_distill_kl, suppress_classes
from unlearnjax.losses.laf import bounded_reconstruction, contrastive_alignment, gaussian_kl, vae
from unlearnjax.losses.lipschitz import lipschitz_ratio
from unlearnjax.losses.regularize import l1_norm, l2_distance, squared_distance
from unlearnjax.losses.representation import (
  attention_map,
  attention_transfer,
  cosine_distance,
  mahalanobis_squared,
  nearest_wrong,
  nearest_wrong_prototype,
  prototype_distance,
  tukey,
)

__all__ = [
  "absolute_error",
  "attention_map",
  "attention_transfer",
  "bad_teacher_kl",
  "binary_cross_entropy",
  "bounded_reconstruction",
  "contrastive_alignment",
  "cosine_distance",
  "cross_entropy",
  "curvature_gap",
  "distill_kl",
  "entropy",
  "gaussian_kl",
  "kl_to_probs",
  "l1_norm",
  "l2_distance",
  "lipschitz_ratio",
  "mahalanobis_squared",
  "margin_weights",
  "nearest_wrong",
  "nearest_wrong_prototype",
  "probability_margin",
  "prototype_distance",
  "reverse_distill_kl",
  "soft_cross_entropy",
  "squared_distance",
  "squared_error",
  "suppress_classes",
  "tukey",
  "unlikelihood",
  "vae",
]
