"""Boundary Shrink: every forget example joins its nearest wrong class. Chen et al., CVPR 2023 (paper 70)."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax

from unlearnjax import objectives
from unlearnjax.core import (
  Method,
  Model,
  ModelFn,
  Run,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  outputs,
  plain_init,
  plain_model,
  zip_roles,
)
from unlearnjax.methods.arguments import clip_range
from unlearnjax.methods.parts import restart, teacher


def boundary_shrink(
  *,
  eps: float = 0.1,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 64,
  value_range: tuple[float, float] | None = (0.0, 1.0),
  curvature: float = 0.0,
  reweight: bool = False,
) -> Method:
  """Relabels the forget set by one adversarial step and trains on it, clean. Needs no retain set. arXiv:2303.11570.

  x' = clip(x + eps sign(grad_x CE(f(theta_o; x), y))), y' = argmax f(theta_o; x');
  theta <- theta - tx(grad CE(f(theta; x), y')).
  The attacked model theta_o is the one at the start of the request and never moves, so y' is computed once an example.
  An example whose x' does not cross the boundary keeps y' = y. The model trains in train mode (batch statistics follow
  the forget set), the attacked one runs in eval mode.

  Args:
    eps: size of the step, in the units of the input, >= 0.
    tx: SGD 1e-5 with momentum 0.9 by default; that belongs to the paper's networks, elsewhere often nothing happens.
    epochs: passes over the forget set.
    batch_size: forget rows of a step.
    value_range: (low, high) that adversarial inputs are clipped to; None does not clip.
    curvature: weight of the curvature regularizer of the enhanced variant; the paper takes 0.7.
    reweight: weighs examples by their adversarial margin, the other enhanced variant.

  Raises:
    ValueError: eps or curvature below 0, or an empty range.

  Example:
    >>> boundary_shrink(eps=0.05).name
    'boundary_shrink'
  """
  check.positive("eps", eps, zero=True)
  check.positive("curvature", curvature, zero=True)
  low, high = clip_range(value_range)
  tx = optax.sgd(1e-5, momentum=0.9) if tx is None else tx
  enhanced = reweight or curvature > 0

  def bind(fn: ModelFn) -> Verbs:
    attacked = objectives.adversary(fn, eps=eps, low=low, high=high)
    if enhanced:
      attack = dict(eps=eps, low=low, high=high, reference="original")
      objective = objectives.boundary_shrink(fn, curvature=curvature, reweight=reweight, **attack)
    else:
      objective = objectives.cross_entropy(fn, target="nearest")
    step = descend({"forget": objective}, tx, state_from="forget")
    original = lambda model, key: {"original": teacher(model)} if enhanced else {}

    def forget(state, refs, request, run):
      source = as_examples(request.forget)
      if enhanced:
        refs = {"original": teacher(state)}
      else:
        model = Model(state.params, state.model_state, {}, attacked)
        labels = run.once("nearest", lambda: {"y": adversarial_labels(model, source, run)})["y"]
        source = source.replace(nearest=labels)
      plan = zip_roles(forget=source, batch_size=batch_size, epochs=epochs)
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=original), plain_model(fn), forget=forget)

  return Method("boundary_shrink", bind)


def adversarial_labels(attacked: Model, source: Any, run: Run | None = None) -> np.ndarray:
  """argmax of the logits of a model whose function is an `objectives.adversary`, int32[n], one an example in order."""
  source = as_examples(source)
  logits = outputs(attacked, source.replace(cond=source.column("y")), run, name="nearest")["logits"]
  if run is not None:
    run.cost.gradient_evaluations += len(source)
  return logits.argmax(-1).astype(np.int32)
