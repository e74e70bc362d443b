"""PGU: projected-gradient unlearning. Hoang et al., WACV 2024, arXiv:2312.04095 (baseline B14)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import curvature, objectives, updates
from unlearnjax.core import (
  Method,
  ModelFn,
  Verbs,
  check,
  descend,
  fit,
  fold,
  need_retain,
  plain_init,
  plain_model,
  view_model,
  zip_roles,
)
from unlearnjax.methods.parts import layer_inputs, restart


def pgu(
  *,
  energy: float = 0.9,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 128,
  offset: float = 0.05,
  entropy_weight: float = 0.2,
  sites: Mapping[str, str] | None = None,
) -> Method:
  """Unlearns in the directions that the retain set's inputs to each layer do not use.

  For each linear and convolution kernel: sum x x^T of the inputs x of the layer over R, which is that over D less that
  over F, U the leading directions that hold the share `energy` of its trace; update <- update - U U^T update. All other
  weights stay. Minimises -log(1 - p_y + offset) - entropy_weight H(p) on F, in eval mode: batch statistics stay.

  Args:
    energy: in (0, 1]; published values are .75 to .9. At 1 nothing can move except along unused inputs.
    tx: SGD 0.1 under a cosine by default; the projection comes after it.
    epochs: passes over the forget set.
    batch_size: forget rows of a step.
    offset: bounds the loss, > 0.
    entropy_weight: >= 0.
    sites: {kernel path: site of its input}; None takes all kernels [in, out] and [h, w, in, out] of the model, which
      must know its sites. Convolutions are seen at stride 1 with padding "SAME".

  Raises:
    ValueError: a number out of range, a model whose sites are unknown, or a request without a retain set.

  Example:
    >>> pgu(energy=0.75).name
    'pgu'
  """
  check.fraction("energy", energy)
  check.positive("offset", offset)
  check.positive("entropy_weight", entropy_weight, zero=True)
  tx = optax.chain(optax.sgd(0.1), updates.by_progress(updates.cosine())) if tx is None else tx
  check.optimizer("tx", tx)

  def bind(fn: ModelFn) -> Verbs:
    covariance = curvature.input_covariance(fn, layer_inputs(fn) if sites is None else sites)
    loss = objectives.uncertain(fn, offset=offset, entropy_weight=entropy_weight, train=False)
    step = descend({"forget": loss}, optax.chain(tx, updates.project_retain("retain_basis")))

    def refs_of(model, key):  # square, so that the rank does not change a shape
      return {"retain_basis": jax.tree.map(jnp.zeros_like, covariance.init(model))}

    def forget(state, refs, request, run):
      retain = need_retain("pgu", request)
      model = view_model(fn, state)

      def bases():
        found = fold(covariance, model, retain, run, name="inputs")
        return {path: full_basis(c, energy) for path, c in found.items()}

      refs = {"retain_basis": run.once("basis", bases)}
      plan = zip_roles(forget=request.forget, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=refs_of), plain_model(fn), forget=forget)

  return Method("pgu", bind)


def full_basis(covariance, energy: float) -> jax.Array:
  """`curvature.subspace_basis` with columns of zeros up to a square, f32[d, d]."""
  basis = curvature.subspace_basis(np.asarray(covariance), energy)
  return jnp.asarray(np.pad(basis, ((0, 0), (0, basis.shape[0] - basis.shape[1]))))
