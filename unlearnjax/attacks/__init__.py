"""Attacks: what can still be found out about the forget set, or brought back.

Membership attacks (`svc_mia`, `loss_mia`, `threshold_mia`, `lira`, `ulira`, `rmia`, ...) read predictions: plain
arrays, on the host in float64, of one model or of many. Scores of arrays (`logit_scaled_confidence`, `min_k`,
`quantize`, `logit_lens`, ...) are pure and run under `jit`. `relearn`, `gcg`, `compression_ratio` and `gradient_norm`
take a model. The ideal is always the value of the retrained model, which is chance wherever the docstring says so.
"""

from unlearnjax.attacks.context import perturb_text, recovered_share, with_context
from unlearnjax.attacks.epsilon import final_score, forgetting_epsilon, forgetting_score
from unlearnjax.attacks.gcg import Compression, Prompt, compression_ratio, gcg
from unlearnjax.attacks.inside import (
  Probe,
  answer_rank,
  linear_probe,
  logit_lens,
  suppression_direction,
  without_direction,
)
from unlearnjax.attacks.lira import lira, logit_scaled_confidence
from unlearnjax.attacks.loss import forest_mia, loss_mia
from unlearnjax.attacks.quantize import code_agreement, quantize
from unlearnjax.attacks.relearn import relearn
from unlearnjax.attacks.rmia import rmia
from unlearnjax.attacks.roc import RocReport, roc_report
from unlearnjax.attacks.sequences import (
  gradient_norm,
  membership_auc,
  min_k,
  min_k_plus_plus,
  reference_score,
  zlib_score,
)
from unlearnjax.attacks.share import entropy_mia, regression_mia, transfer_forgetting_rate
from unlearnjax.attacks.svc import svc_mia, training_privacy
from unlearnjax.attacks.threshold import ThresholdResult, threshold_mia
from unlearnjax.attacks.ulira import ULiraResult, ulira

__all__ = [
  "Compression",
  "Probe",
  "Prompt",
  "RocReport",
  "ThresholdResult",
  "ULiraResult",
  "answer_rank",
  "code_agreement",
  "compression_ratio",
  "entropy_mia",
  "final_score",
  "forest_mia",
  "forgetting_epsilon",
  "forgetting_score",
  "gcg",
  "gradient_norm",
  "linear_probe",
  "lira",
  "logit_lens",
  "logit_scaled_confidence",
  "loss_mia",
  "membership_auc",
  "min_k",
  "min_k_plus_plus",
  "perturb_text",
  "quantize",
  "recovered_share",
  "reference_score",
  "regression_mia",
  "relearn",
  "rmia",
  "roc_report",
  "suppression_direction",
  "svc_mia",
  "threshold_mia",
  "training_privacy",
  "transfer_forgetting_rate",
  "ulira",
  "with_context",
  "without_direction",
  "zlib_score",
]
