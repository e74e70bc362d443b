"""SCAR self-forget: a class is removed without an image of it. Bonato et al. 2024 (paper 30)."""

from __future__ import annotations

import numpy as np
import optax

from unlearnjax.core import (
  Method,
  ModelFn,
  Verbs,
  fit,
  need_retain,
  outputs,
  plain_init,
  plain_model,
  view_model,
  zip_roles,
)
from unlearnjax.methods.classification.scar import (
  empty_refs,
  forget_refs,
  need_surrogate,
  selective_distillation,
  targets,
)
from unlearnjax.methods.parts import restart, teacher
from unlearnjax.methods.stopping import forgotten


def scar_self(
  *,
  forget_weight: float = 1.0,
  surrogate_weight: float = 5.0,
  power: float = 0.5,
  shrinkage: tuple[float, float] = (3.0, 3.0),
  temperature: float = 1.0,
  surrogate_batches: int = 5,
  stop: float = 0.01,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 30,
  batch_size: int = 1024,
  site: str = "head:in",
) -> Method:
  """`scar` whose forget set are the surrogate images that the original model takes for the forgotten classes.

  No image of the forget set is read. The moments of the classes that stay, shrunk once, are folded over the retain set
  at the original weights; in the paper they were kept from training. arXiv:2404.12922.

  Args:
    forget_weight, surrogate_weight: lambda_1 and lambda_2, >= 0.
    power: of the Tukey transform, in (0, 1]; it needs features >= 0.
    shrinkage: of the diagonal and of the rest of the covariances, >= 0.
    temperature: T > 0 of the original.
    surrogate_batches: batches of all surrogates for a batch of those taken for forgotten classes.
    stop: share in [0, 1] of the latter still taken for them that ends it, after the first epoch.
    tx: optimizer; Adam 5e-4 by default.
    epochs: of the surrogates taken for forgotten classes.
    batch_size: rows of each role.
    site: features z, f[B, d]: the input of the classifying layer.

  Raises:
    ValueError: a request that does not forget whole classes, without retain set or surrogates, or none of whose
      surrogates is taken for a forgotten class.

  Example:
    >>> scar_self(epochs=5).name
    'scar_self'
  """

  def bind(fn: ModelFn) -> Verbs:
    step, gaussians = selective_distillation(
      fn, tx, (forget_weight, surrogate_weight), power, 0.0, temperature, shrinkage, 1, site
    )

    def forget(state, refs, request, run):
      if not request.classes:
        raise ValueError("scar_self forgets whole classes only, and the request names none in request.classes")
      images, retain = need_surrogate("scar_self", request), need_retain("scar_self", request)
      model = view_model(fn, state)
      predicted = outputs(model, images, run, name="surrogate")["logits"].argmax(-1)
      taken = np.isin(predicted, request.classes)
      if not taken.any():
        raise ValueError(f"none of the {len(images)} surrogate images is taken for a class of {request.classes}")
      examples = images.replace(y=predicted.astype(np.int32)).where(taken)

      def statistics():
        found = gaussians(model, retain, run)
        return {"gaussians": found, "target": targets(model, examples, found, request.classes, power, site, run)}

      found = run.once("statistics", statistics)
      refs = {"teacher": teacher(state), **forget_refs(found["gaussians"], request)}
      plan = zip_roles(
        anchor="forget",
        batch_size=batch_size,
        epochs=epochs * surrogate_batches,
        forget=examples.replace(target=np.asarray(found["target"])),
        surrogate=images,
      )
      until = forgotten(plan, stop, after=surrogate_batches)
      return fit(step, restart(state, step), plan, refs, run, until=until)[0], refs

    return Verbs(plain_init(step, refs=empty_refs(site)), plain_model(fn), forget=forget)

  return Method("scar_self", bind)
