"""Learning classes without memory, part by part. Smith et al., CVPR-W 2023, arXiv:2203.17269 (paper 54)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import curvature, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fold, view_model
from unlearnjax.methods.continual.consolidate import no_anchor
from unlearnjax.methods.continual.parts import learner, open_head
from unlearnjax.methods.parts import teacher


def rehearsal_free(
  *,
  head: str = "sigmoid",
  predictions: float = 1.0,
  features: float = 0.0,
  site: str | None = None,
  anchor: str | None = None,
  strength: float = 1.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 128,
  every: int | None = None,
) -> Method:
  """Classification with a head of one question a class, distillation of predictions or features, and an anchor.

  L_cls + predictions L_PredKD + features |h - h_old|^2 + strength sum_j F_j (theta_j - theta_old_j)^2, each against
  the model before the task. A softmax over all seen classes starves the old ones of a learner without memory; the
  sigmoid head does not, and takes the old classes' targets from the old model, so that L_cls and L_PredKD are one.

  Args:
    head: "sigmoid", or "softmax" over all seen classes with a distillation of its own at temperature 2.
    predictions: >= 0; with the sigmoid head 0 or 1: whether old classes are taught by the old model or labelled 0.
    features: >= 0, needs `site`.
    site: the activation whose features are held, e.g. "head:in".
    anchor: None, "l2" (F = 1, from the first task on, for models that are already trained) or "ewc" (F of the task
      before).
    strength: >= 0, of the anchor.
    tx: optimizer, Adam 1e-3 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: unknown names, weights below 0, features without a site.

  Example:
    >>> rehearsal_free(anchor="l2", strength=0.1).name
    'rehearsal_free'
  """
  check.one_of("head", head, ("sigmoid", "softmax"))
  check.one_of("anchor", anchor, (None, "l2", "ewc"))
  for name, value in (("predictions", predictions), ("features", features), ("strength", strength)):
    check.positive(name, value, zero=True)
  if head == "sigmoid":
    check.one_of("predictions", predictions, (0, 1))
  if features and site is None:
    raise ValueError("features needs site=, the activation that is held")
  tx = optax.adam(1e-3) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    if head == "sigmoid":
      parts = [objectives.one_vs_all(fn, distill=bool(predictions))]
    else:
      parts = [objectives.cross_entropy(open_head(fn)), objectives.scaled(objectives.retained(fn), predictions)]
    if features:
      parts.append(objectives.scaled(_after_first(objectives.feature_distill(fn, site)), features))
    roles = {"current": objectives.added(*parts)}
    if anchor is not None:
      roles["past"] = objectives.scaled(objectives.anchored(), strength)
    fisher = curvature.fisher_diag(open_head(fn), kind="model_sampled")

    def first(model, key):
      start = no_anchor(model, key) if anchor is not None else {}
      if anchor == "l2":
        start["importance"] = jax.tree.map(jnp.ones_like, start["importance"])
      return {**start, "teacher": teacher(model)}

    def before(state, refs, task, run):
      refs = {**refs, "teacher": teacher(state)}
      return state, {**refs, "anchor": {"params": state.params}} if anchor is not None else refs

    def after(state, refs, task, run):
      if anchor != "ewc":
        return state, refs
      model = view_model(open_head(fn), state, refs)
      found = run.once("importance", lambda: fold(fisher, model, task.train, run, name="fisher", rng=state.rng))
      return state, {**refs, "importance": found}

    step = descend(roles, tx, state_from="current")
    settings = dict(epochs=epochs, batch_size=batch_size, every=every)
    return learner(fn, step, refs=first, before=before, after=after, **settings)

  return Method("rehearsal_free", bind)


def _after_first(objective):
  """Nothing in the first task: there is no model before it."""

  def f(params, batch, view):
    value, aux = objective(params, batch, view)
    return jnp.where(view.refs["task"] > 0, value, 0.0), aux

  return f
