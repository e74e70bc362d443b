"""Losses: arrays in, one number per example out (one per token for language). No model, no hidden state.

`objectives` binds them to a model and takes the mean over valid rows. Penalties on parameters return scalars.
"""

from unlearnjax.losses.boundary import curvature_gap, margin_weights, probability_margin
from unlearnjax.losses.classification import (
  absolute_error,
  binary_cross_entropy,
  cross_entropy,
  entropy,
  one_vs_all,
  soft_cross_entropy,
  squared_error,
  unlikelihood,
)
from unlearnjax.losses.distill import (
  bad_teacher_kl,
  distill_cross_entropy,
  distill_kl,
  kl_to_probs,
  reverse_distill_kl,
  suppress_classes,
)
from unlearnjax.losses.laf import bounded_reconstruction, contrastive_alignment, gaussian_kl, vae
from unlearnjax.losses.lipschitz import lipschitz_ratio
from unlearnjax.losses.pair_divergence import flat, mean_probability
from unlearnjax.losses.preference import dpo, npo, simnpo
from unlearnjax.losses.regularize import l1_norm, l2_distance, squared_distance, wasserstein, weighted_distance
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
from unlearnjax.losses.reweighted import reweighted, satimp, wga
from unlearnjax.losses.soft_targets import (
  ceu,
  control_vector,
  generic_logits,
  kl_ref,
  logit_margin,
  rmu,
  soft_target_ce,
  undial,
)
from unlearnjax.losses.spectral import spectral_penalty, spectral_start, spectral_step
from unlearnjax.losses.tokens import (
  Aligned,
  drop_first,
  drop_last,
  next_tokens,
  reduce_seq_mean,
  reduce_seq_sum,
  reduce_token_mean,
  token_nll,
)

__all__ = [
  "Aligned",
  "absolute_error",
  "attention_map",
  "attention_transfer",
  "bad_teacher_kl",
  "binary_cross_entropy",
  "bounded_reconstruction",
  "ceu",
  "contrastive_alignment",
  "control_vector",
  "cosine_distance",
  "cross_entropy",
  "curvature_gap",
  "distill_cross_entropy",
  "distill_kl",
  "dpo",
  "drop_first",
  "drop_last",
  "entropy",
  "flat",
  "gaussian_kl",
  "generic_logits",
  "kl_ref",
  "kl_to_probs",
  "l1_norm",
  "l2_distance",
  "lipschitz_ratio",
  "logit_margin",
  "mahalanobis_squared",
  "margin_weights",
  "mean_probability",
  "nearest_wrong",
  "nearest_wrong_prototype",
  "next_tokens",
  "npo",
  "one_vs_all",
  "probability_margin",
  "prototype_distance",
  "reduce_seq_mean",
  "reduce_seq_sum",
  "reduce_token_mean",
  "reverse_distill_kl",
  "reweighted",
  "rmu",
  "satimp",
  "simnpo",
  "soft_cross_entropy",
  "soft_target_ce",
  "spectral_penalty",
  "spectral_start",
  "spectral_step",
  "squared_distance",
  "squared_error",
  "suppress_classes",
  "token_nll",
  "tukey",
  "undial",
  "unlikelihood",
  "vae",
  "wasserstein",
  "weighted_distance",
  "wga",
]
