"""DUCK: distance-based unlearning via centroid kinematics. Cotogni et al., arXiv:2312.02052 (paper 32)."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import combine, curvature, losses, objectives, updates
from unlearnjax.core import (
  Method,
  ModelFn,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  fold,
  need_retain,
  outputs,
  plain_init,
  plain_model,
  view_model,
  zip_roles,
)
from unlearnjax.curvature.classes import site_width
from unlearnjax.methods.parts import restart
from unlearnjax.methods.stopping import forgotten, held_out_accuracy


def duck(
  *,
  forget_weight: float = 1.0,
  retain_weight: float = 1.4,
  temperature: float = 2.0,
  ratio: int = 40,
  stop: float | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 1024,
  polish_tx: optax.GradientTransformation | None = None,
  polish_epochs: int = 1,
  polish_batch_size: int = 512,
  site: str = "head:in",
) -> Method:
  """Moves the features of the forget set to the nearest centroid of a wrong class.

  mu_c = mean of phi_o(x) over R; k(x) = argmin_{c != y} 1 - cos(phi_o(x), mu_c), chosen once; then Adam on
  lambda_1 mean_F [1 - cos(phi(x), mu_k(x))] + lambda_2 CE_R(z / T), with ratio + 1 retain batches for every batch of
  every epoch of F. Forgetting ends early; a last pass over R lowers lambda_1 to a tenth. Each step holds a fresh batch
  of F, where the reference implementation keeps one for ratio + 1 steps: F is seen as often. The last pass has no
  augmentation. Models with batch statistics train in train mode and keep those of the retain batches.

  Args:
    forget_weight: lambda_1 >= 0; 0 is fine-tuning at temperature T.
    retain_weight: lambda_2 >= 0.
    temperature: T > 0.
    ratio: 40 for CIFAR-10, 5 where classes are many.
    stop: forget accuracy in [0, 1] under which the first phase ends. None takes .01 for whole classes, and for other
      requests the original model's accuracy on `extra["validation"]` or `extra["test"]`.
    tx: optimizer; Adam 1e-3, halved after each third of the plan, by default.
    epochs: of F; the plan makes epochs * (ratio + 1) passes.
    batch_size: rows of each role.
    polish_tx: optimizer of the last phase; Adam 1e-4 by default.
    polish_epochs: passes over R in the last phase, which needs both weights; 0 leaves it out.
    polish_batch_size: rows of each role in it.
    site: features phi, f[B, d]: the input of the classifying layer.

  Raises:
    ValueError: an argument out of range, or a request without a retain set.

  Example:
    >>> duck(ratio=5).name
    'duck'
  """
  check.positive("forget_weight", forget_weight, zero=True)
  check.positive("retain_weight", retain_weight, zero=True)
  check.positive("ratio", ratio, zero=True)
  decay = updates.by_progress(updates.step_decay((1 / 3, 2 / 3), 0.5))
  tx = optax.chain(optax.adam(1e-3), decay) if tx is None else tx
  polish_tx = optax.adam(1e-4) if polish_tx is None else polish_tx

  def bind(fn: ModelFn) -> Verbs:
    centroids = functools.cache(lambda classes: curvature.class_prototypes(fn, classes, site))
    roles = {
      "forget": objectives.prototype(fn, site=site),
      "retain": objectives.cross_entropy(fn, temperature=temperature),
    }
    near = combine.weighted(forget=forget_weight, retain=retain_weight)
    low = combine.weighted(forget=forget_weight / 10, retain=1.0)
    step = descend(roles, tx, combine=near, state_from="retain")
    polish = descend(roles, polish_tx, combine=low, state_from="retain", name="polish")

    def statistics(model, request, run):
      classes = site_width(model, site.partition(":")[0])
      found = fold(centroids(classes), model, request.retain, run, name="centroids")
      present = (found["count"] > 0) & ~np.isin(np.arange(classes), request.classes)
      features = outputs(model, request.forget, run, capture=(site,), name="features")[site]
      labels = jnp.asarray(as_examples(request.forget).column("y"))
      target = losses.nearest_wrong_prototype(jnp.asarray(features), found["mean"], labels, present)
      return {"prototypes": found["mean"], "target": target}

    def forget(state, refs, request, run):
      retain, model = need_retain("duck", request), view_model(fn, state)
      below = stop
      if below is None:
        below = 0.01 if request.classes else held_out_accuracy(model, request, run)
      found = run.once("statistics", lambda: statistics(model, request, run))
      refs = {"prototypes": found["prototypes"]}
      sources = {"forget": as_examples(request.forget).replace(target=np.asarray(found["target"])), "retain": retain}
      plan = zip_roles(anchor="forget", batch_size=batch_size, epochs=epochs * (ratio + 1), **sources)
      state = restart(state, step, polish)
      state, _ = fit(step, state, plan, refs, run, until=forgotten(plan, below))
      if polish_epochs and forget_weight and retain_weight:
        plan = zip_roles(anchor="retain", batch_size=polish_batch_size, epochs=polish_epochs, **sources)
        state, _ = fit(polish, state, plan, refs, run, name="polish")
      return state, refs

    def zeros(model, key):
      return {"prototypes": jnp.zeros((site_width(model, site.partition(":")[0]), site_width(model, site)))}

    return Verbs(plain_init(step, polish, refs=zeros), plain_model(fn), forget=forget)

  return Method("duck", bind)
