"""Edits: one-shot changes of weights, `(params, statistics) -> params`, pure and without training.

Statistics come from `curvature`; searches and layer choices that run on the host say so.
"""

from unlearnjax.edits.dampen import ssd
from unlearnjax.edits.fisher import fisher_noise, gaussian_information, noise_moments
from unlearnjax.edits.newton import newton, ntk_scrub, ntk_step, trapezium_scale
from unlearnjax.edits.prune import any_kernel, apply_mask, conv_kernel, magnitude_mask, synflow_mask, synflow_scores
from unlearnjax.edits.slug import StepSearch, initial_step, layer_scores, pareto_layers, search_step, step_along
from unlearnjax.edits.structure import (
  drop_head_row,
  path_mask,
  perturb,
  reinitialize,
  soft_threshold,
  widen_head,
)
from unlearnjax.edits.task_vector import negate_task

__all__ = [
  "StepSearch",
  "any_kernel",
  "apply_mask",
  "conv_kernel",
  "drop_head_row",
  "fisher_noise",
  "gaussian_information",
  "initial_step",
  "layer_scores",
  "magnitude_mask",
  "negate_task",
  "newton",
  "noise_moments",
  "ntk_scrub",
  "ntk_step",
  "pareto_layers",
  "path_mask",
  "perturb",
  "reinitialize",
  "search_step",
  "soft_threshold",
  "ssd",
  "step_along",
  "synflow_mask",
  "synflow_scores",
  "trapezium_scale",
  "widen_head",
]
