"""FF: Fisher forgetting. Golatkar et al., CVPR 2020, arXiv:1911.04933 (baseline B6)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax import curvature, edits
from unlearnjax.core import Method, ModelFn, Verbs, check, fold, need_retain, plain_init, plain_model, view_model
from unlearnjax.methods.parts import num_outputs


def fisher_forgetting(*, alpha: float = 1e-6, head: str = "head") -> Method:
  """Adds noise to every weight, as much as the retain set can bear. No training.

  F = (1/|R|) sum_x sum_c p_c (grad -log p_c)^2, the exact Fisher information on R, in eval mode, at a backward pass a
  class; theta <- theta + sqrt(v) N(0, I), v = alpha min(1 / (F + 1e-8), 1e3), 1e2 in the head. Kernels take the mean
  of v over their inputs; the head, biases and norms get 10 v. Classes that go whole get outputs drawn around 0.

  Args:
    alpha: scale of the variance, >= 0; 1e-9 to 1e-6 in published runs. 0 changes nothing of a random request.
    head: path of the classifier's layer.

  Raises:
    ValueError: alpha < 0, no parameters under `head`, or a request without a retain set.

  Example:
    >>> fisher_forgetting(alpha=1e-7).name
    'fisher_forgetting'
  """
  check.positive("alpha", alpha, zero=True)

  def bind(fn: ModelFn) -> Verbs:
    fisher = curvature.fisher_diag(fn, kind="expected")

    def forget(state, refs, request, run):
      retain = need_retain("fisher_forgetting", request)
      model = view_model(fn, state)
      key = jax.random.fold_in(jax.random.fold_in(state.rng, 1), state.step)
      classes = jnp.asarray(request.classes, jnp.int32) if request.classes else None

      def scrubbed():
        found = fold(fisher, model, retain, run, name="fisher")
        run.cost.gradient_evaluations += (num_outputs(model, retain) - 1) * len(retain)
        return edits.fisher_noise(state.params, found, key, alpha=alpha, head=head, forget_class=classes)

      # the step counts requests here, so that the next one draws other noise
      return state.replace(params=run.once("scrubbed", scrubbed), step=state.step + 1), refs

    return Verbs(plain_init(), plain_model(fn), forget=forget)

  return Method("fisher_forgetting", bind)
