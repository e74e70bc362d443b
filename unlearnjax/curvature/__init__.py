"""Curvature and other statistics of a model on data: matrix-free, on trees of parameters, exact in any batch size.

Statistics are streaming folds for `core.fold`; the rest are functions on arrays and trees of parameters. A statistic is
built once, next to the objectives: a new one would be compiled anew.

| to have | use |
|---|---|
| a matrix times a vector | `hvp`, `ggn_vp`, `jacobian_vp`, `jacobian_tvp`, `ntk_vp`, `kfac_vp` |
| an inverse times a vector | `cg`, `damped_cg`, `neumann`, `lissa` of any product; `woodfisher`, `kfac` |
| a trace, a diagonal, eigenvalues | `hessian_trace`, `hessian_diag`, `top_eigs` of any product; `fisher_diag` |
| the tangent kernel | `ntk`, `logit_jacobian`, `ntk_overlap`, `linearize`, `ridge_displacement` |
| where something is stored | `saliency`, `weight_attribution`, `tensor_region` |
| what depends on what | `codec`, `foci`, `markov_blanket` |

Example:
  >>> import jax, jax.numpy as jnp
  >>> from unlearnjax import curvature, losses, models
  >>> model = models.make("mlp", input_shape=(3,), num_outputs=2, widths=(4,)).init(jax.random.key(0))
  >>> x = jax.random.normal(jax.random.key(1), (5, 3))
  >>> batch = {"inputs": {"x": x}, "y": jnp.array([0, 1, 0, 1, 1]), "valid": jnp.ones(5, bool)}
  >>> product = lambda v: curvature.ggn_vp(model.fn, losses.cross_entropy, model.params, batch, v, microbatch=2)
  >>> _, info = curvature.cg(product, model.params, damping=0.1)
  >>> bool(info.converged), bool(info.indefinite)
  (True, False)
"""

from unlearnjax.curvature.attribution import grad_cam, integrated_gradients
from unlearnjax.curvature.basis import orthonormalize, project_out
from unlearnjax.curvature.blanket import markov_blanket, slice_mask
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
from unlearnjax.curvature.damped import DampedInfo, damped_cg
from unlearnjax.curvature.dependence import Foci, codec, foci
from unlearnjax.curvature.empirical import woodfisher
from unlearnjax.curvature.fisher import fisher_diag
from unlearnjax.curvature.gradients import gradient, saliency
from unlearnjax.curvature.inputs import input_covariance, subspace_basis, unfold
from unlearnjax.curvature.inverse import CGInfo, SeriesInfo, cg, draw_rows, lissa, neumann
from unlearnjax.curvature.kronecker import kfac, kfac_factors, kfac_vp
from unlearnjax.curvature.linear import LinearFn, linearize
from unlearnjax.curvature.overlap import Overlap, ntk_overlap, total_forgetting
from unlearnjax.curvature.products import ggn_vp, hvp, jacobian_tvp, jacobian_vp, scalar_hvp
from unlearnjax.curvature.residual import newton_residual
from unlearnjax.curvature.rows import microbatches, per_example_gradients, sum_over_rows
from unlearnjax.curvature.select import largest, top_saliency
from unlearnjax.curvature.sensitivity import output_sensitivity, synaptic_importance
from unlearnjax.curvature.spectrum import Eigs, hessian_diag, hessian_trace, top_eigs
from unlearnjax.curvature.tangent import logit_jacobian, ntk, ntk_gram, ntk_vp, ridge_displacement
from unlearnjax.curvature.weights import tensor_region, weight_attribution
from unlearnjax.kernels import layer_moments

__all__ = [
  "CGInfo",
  "Concepts",
  "DampedInfo",
  "Eigs",
  "Foci",
  "LinearFn",
  "Overlap",
  "SeriesInfo",
  "cg",
  "class_moments",
  "class_precisions",
  "class_prototypes",
  "codec",
  "concept_head",
  "concept_margins",
  "concept_vector",
  "crop_at",
  "damped_cg",
  "defining_concepts",
  "draw_rows",
  "fisher_diag",
  "foci",
  "ggn_vp",
  "grad_cam",
  "gradient",
  "hessian_diag",
  "hessian_trace",
  "hvp",
  "input_covariance",
  "integrated_gradients",
  "jacobian_tvp",
  "jacobian_vp",
  "kfac",
  "kfac_factors",
  "kfac_vp",
  "largest",
  "layer_moments",
  "linearize",
  "lissa",
  "logit_jacobian",
  "markov_blanket",
  "microbatches",
  "neumann",
  "newton_residual",
  "ntk",
  "ntk_gram",
  "ntk_overlap",
  "ntk_vp",
  "orthonormalize",
  "output_sensitivity",
  "paste_at",
  "peak_centre",
  "per_example_gradients",
  "project_out",
  "ridge_displacement",
  "saliency",
  "scalar_hvp",
  "shrink",
  "shrink_to_correlation",
  "slice_mask",
  "subspace_basis",
  "sum_over_rows",
  "tensor_region",
  "to_correlation",
  "top_eigs",
  "synaptic_importance",
  "top_saliency",
  "total_forgetting",
  "unfold",
  "weight_attribution",
  "window_map",
  "woodfisher",
]
