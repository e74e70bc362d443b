"""SLUG: single layer, single gradient. Cai et al. 2024, arXiv:2407.11867 (paper 1)."""

from __future__ import annotations

import logging

import jax.numpy as jnp
import numpy as np

from unlearnjax import curvature, edits, objectives
from unlearnjax.core import (
  Method,
  Model,
  ModelFn,
  Verbs,
  as_examples,
  check,
  fold,
  need_retain,
  outputs,
  plain_init,
  plain_model,
  view_model,
)
from unlearnjax.core.tree import paths

_log = logging.getLogger("unlearnjax")


def slug(*, target: float = 0.0, max_evals: int = 10, divisor: float = 10.0) -> Method:
  """Edits one weight tensor by one searched step along one gradient. No training.

  g_F = grad of minus the forget loss, g_R = grad of the retain loss, both at theta_o in eval mode. Importance
  |g_F,l| / |theta_l| and alignment |cos(g_F,l, g_R,l)| of every weight tensor l, without biases, logit scales and
  embeddings. Candidates are the tensors that no other beats, strictly, in both. Each is tried as theta_l - lam g_F,l,
  always from theta_o, with lam from (|theta_l| / |g_F,l|) / divisor by doubling and bisection down to the smallest step
  whose forget accuracy is at most `target`. Of those that reach it, the one that keeps the highest retain accuracy is
  the edit; where none does, the one that comes closest, with a warning.

  Args:
    target: forget accuracy at which a tensor counts as edited enough, in [0, 1]. 0 for a class; for random examples the
      accuracy of a model that never saw them.
    max_evals: trials of each candidate, each an evaluation of the forget set.
    divisor: makes the first trial small, > 0.

  Raises:
    ValueError: target outside [0, 1], max_evals or divisor <= 0, or a request without a retain set.

  Example:
    >>> slug(target=0.05).name
    'slug'
  """
  check.fraction("target", target, zero=True)
  check.positive("max_evals", max_evals)
  check.positive("divisor", divisor)

  def bind(fn: ModelFn) -> Verbs:
    loss = objectives.cross_entropy(fn, train=False)
    slope_forget, slope_retain = curvature.gradient(objectives.negated(loss)), curvature.gradient(loss)

    def search(state, gone, retain, run):
      model = view_model(fn, state)
      direction = fold(slope_forget, model, gone, run, name="gradient_forget")
      other = fold(slope_retain, model, retain, run, name="gradient_retain")
      moments = curvature.layer_moments(direction, other, state.params)

      def edited(path: str, lam: float) -> Model:
        return model.replace(params=edits.step_along(state.params, path, direction, lam))

      best = None
      for path in edits.pareto_layers(moments):
        found = edits.search_step(
          lambda lam, path=path: _accuracy(edited(path, lam), gone, run),
          edits.initial_step(moments, path, divisor),
          target,
          max_evals,
        )
        kept = _accuracy(edited(path, found.step), retain, run)
        rank = (found.met, kept if found.met else -found.value, kept)
        if best is None or rank > best[0]:
          best = rank, path, found
      if best is None:
        raise ValueError("slug finds no tensor to edit: the forget gradient is zero wherever it may edit")
      _, path, found = best
      if not found.met:
        _log.warning("slug: no tensor reaches forget accuracy %g; %s reaches %g", target, path, found.value)
      return {
        "layer": jnp.asarray(paths(state.params).index(path)),
        "params": edited(path, found.step).params,
        "step": jnp.asarray(found.step, jnp.float32),
      }

    def forget(state, refs, request, run):
      retain = as_examples(need_retain("slug", request))
      found = run.once("edit", lambda: search(state, as_examples(request.forget), retain, run))
      return state.replace(params=found["params"]), refs

    return Verbs(plain_init(), plain_model(fn), forget=forget)

  return Method("slug", bind)


def _accuracy(model: Model, source, run) -> float:
  predicted = outputs(model, source, run)["logits"].argmax(-1)
  return float(np.mean(predicted == source.column("y")))
