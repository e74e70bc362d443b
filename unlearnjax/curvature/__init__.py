"""Curvature and other statistics of a model on data.

Statistics are streaming folds for `core.fold`; the rest are functions on arrays and trees of parameters. A statistic is
built once, next to the objectives: a new one would be compiled anew.
"""

from unlearnjax.curvature.attribution import grad_cam, integrated_gradients
from unlearnjax.curvature.classes import (
  class_moments,
  class_precisions,
  class_prototypes,
  shrink,
  shrink_to_correlation,
  to_correlation,
)
from unlearnjax.curvature.concepts import (
  Concepts,
  concept_head,
  concept_margins,
  concept_vector,
  crop_at,
  defining_concepts,
  paste_at,
  peak_centre,
  window_map,
)
from unlearnjax.curvature.fisher import fisher_diag
from unlearnjax.curvature.ggn import mean_ggn
from unlearnjax.curvature.gradients import gradient, layer_moments, saliency
from unlearnjax.curvature.inputs import input_covariance, subspace_basis, unfold
from unlearnjax.curvature.inverse import cg_solve, hvp, mean_hvp, woodfisher
from unlearnjax.curvature.ntk import logit_jacobian, ntk_gram, ridge_displacement
from unlearnjax.curvature.residual import newton_residual
from unlearnjax.curvature.rows import per_example_gradients, sum_over_rows
from unlearnjax.curvature.select import largest, top_saliency

__all__ = [
  "Concepts",
  "cg_solve",
  "class_moments",
  "class_precisions",
  "class_prototypes",
  "concept_head",
  "concept_margins",
  "concept_vector",
  "crop_at",
  "defining_concepts",
  "fisher_diag",
  "grad_cam",
  "gradient",
  "hvp",
  "input_covariance",
  "integrated_gradients",
  "largest",
  "layer_moments",
  "logit_jacobian",
  "mean_ggn",
  "mean_hvp",
  "newton_residual",
  "ntk_gram",
  "paste_at",
  "peak_centre",
  "per_example_gradients",
  "ridge_displacement",
  "saliency",
  "shrink",
  "shrink_to_correlation",
  "subspace_basis",
  "sum_over_rows",
  "to_correlation",
  "top_saliency",
  "unfold",
  "window_map",
  "woodfisher",
]
