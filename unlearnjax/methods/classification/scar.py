"""SCAR: selective distillation for class- and architecture-agnostic unlearning. Bonato et al. 2024 (paper 30)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import combine, curvature, losses, objectives
from unlearnjax.core import (
  Examples,
  ForgetRequest,
  Method,
  Model,
  ModelFn,
  Run,
  Transform,
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
from unlearnjax.core.types import Array
from unlearnjax.curvature.classes import site_width
from unlearnjax.methods.parts import restart, teacher
from unlearnjax.methods.stopping import forgotten, held_out_accuracy


def scar(
  *,
  forget_weight: float = 1.0,
  surrogate_weight: float = 5.0,
  power: float = 0.5,
  shrinkage: tuple[float, float] = (3.0, 3.0),
  floor: float = 0.8,
  temperature: float = 1.0,
  surrogate_batches: int = 5,
  stop: float | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 30,
  batch_size: int = 1024,
  site: str = "head:in",
) -> Method:
  """Pushes forget features to the nearest wrong class Gaussian while it distils the original on surrogate images.

  With t(z) = z^power and u = t(z) / |t(z)| - mu_c / |mu_c|, d(x, c) = u^T pinv(corr(shrink(shrink(S_c)))) u;
  k(x) = argmin_{c != y} d(x, c), chosen once; then Adam on lambda_1 mean_F d(x, k(x)) + lambda_2 mean_S
  KL(softmax(z_o / T) || softmax(z)). When classes are removed, surrogates that the original gives to them are dropped
  and the original's logit of such a class falls to the smallest of the batch. When single examples are, they count with
  the accuracy of their class (`objectives.class_gaussian`) and surrogates are drawn against the frequency of their
  predicted class. arXiv:2404.12922.

  The class moments are kept from training: they are folded here over forget and retain set at the original weights, and
  that is all the retain set is used for. The images are `request.extra["surrogate"]` (`data.surrogate`). Models with
  batch statistics keep them: both terms run in eval mode, as surrogates do not belong into them.

  Args:
    forget_weight, surrogate_weight: lambda_1 and lambda_2, >= 0.
    power: of the Tukey transform, in (0, 1]; it needs features >= 0.
    shrinkage: of the diagonal and of the rest of the covariances, >= 0.
    floor: accuracy of a class under which its single examples are let go, in [0, 1].
    temperature: T > 0 of the original.
    surrogate_batches: batches of surrogates for a batch of F.
    stop: forget accuracy in [0, 1] that ends it, after the first epoch; None as for `duck`.
    tx: optimizer; Adam 5e-4 by default.
    epochs: of F; the plan makes epochs * surrogate_batches passes, F is seen as often as in the paper.
    batch_size: rows of each role.
    site: features z, f[B, d]: the input of the classifying layer.

  Raises:
    ValueError: an argument out of range, or a request without a retain set or surrogate images.

  Example:
    >>> scar(epochs=5).name
    'scar'
  """

  def bind(fn: ModelFn) -> Verbs:
    step, gaussians = selective_distillation(
      fn, tx, (forget_weight, surrogate_weight), power, floor, temperature, shrinkage, 2, site
    )

    def forget(state, refs, request, run):
      images, retain = need_surrogate("scar", request), as_examples(need_retain("scar", request))
      model, examples = view_model(fn, state), as_examples(request.forget)
      below = stop
      if below is None:
        below = 0.01 if request.classes else held_out_accuracy(model, request, run)

      def statistics():
        found = gaussians(model, examples + retain, run)
        target = targets(model, examples, found, request.classes, power, site, run)
        if request.classes:
          return {"gaussians": found, "target": target, "surrogate": np.arange(len(images))}
        predicted = outputs(model, images, run, name="surrogate")["logits"].argmax(-1)
        return {"gaussians": found, "target": target, "surrogate": against_frequency(predicted, state.rng)}

      found = run.once("statistics", statistics)
      refs = {"teacher": teacher(state), **forget_refs(found["gaussians"], request)}
      plan = zip_roles(
        anchor="forget",
        batch_size=batch_size,
        epochs=epochs * surrogate_batches,
        forget=examples.replace(target=np.asarray(found["target"])),
        surrogate=images[np.asarray(found["surrogate"])],
      )
      until = forgotten(plan, below, after=surrogate_batches)
      return fit(step, restart(state, step), plan, refs, run, until=until)[0], refs

    return Verbs(plain_init(step, refs=empty_refs(site)), plain_model(fn), forget=forget)

  return Method("scar", bind)


def selective_distillation(
  fn: ModelFn,
  tx: optax.GradientTransformation | None,
  weights: tuple[float, float],
  power: float,
  floor: float,
  temperature: float,
  shrinkage: tuple[float, float],
  shrinks: int,
  site: str,
) -> tuple[Transform, Callable[[Model, Any, Run], dict[str, Array]]]:
  """The step of SCAR over the roles "forget" and "surrogate", and `(model, source, run) -> class Gaussians`."""
  for name, value in zip(("forget_weight", "surrogate_weight"), weights):
    check.positive(name, value, zero=True)
  roles = {
    "forget": objectives.class_gaussian(fn, site=site, power=power, floor=floor, train=False),
    "surrogate": objectives.surrogate_distill(fn, temperature=temperature, train=False),
  }
  near = combine.weighted(forget=weights[0], surrogate=weights[1])
  step = descend(roles, optax.adam(5e-4) if tx is None else tx, combine=near)
  moments = functools.cache(lambda classes: curvature.class_moments(fn, classes, site, power=power))

  def gaussians(model: Model, source: Any, run: Run) -> dict[str, Array]:
    found = fold(moments(outputs_of(model, site)), model, source, run, name="moments")
    precision = curvature.class_precisions(found["covariance"], *shrinkage, times=shrinks)
    return {"mean": found["mean"], "precision": precision, "count": found["count"]}

  return step, gaussians


def targets(
  model: Model, examples: Examples, gaussians: dict, removed: tuple[int, ...], power: float, site: str, run: Run
) -> Array:
  """int32[n], the wrong class whose Gaussian is nearest; removed and unseen classes are no targets."""
  features = jnp.asarray(outputs(model, examples, run, capture=(site,), name="features")[site])
  distances = jax.lax.map(
    lambda z: losses.mahalanobis_squared(z[None], gaussians["mean"], gaussians["precision"], power=power)[0], features
  )
  present = (gaussians["count"] > 0) & ~np.isin(np.arange(len(gaussians["count"])), removed)
  return losses.nearest_wrong(distances, jnp.asarray(examples.column("y")), present)


def against_frequency(predicted: np.ndarray, rng: Array) -> np.ndarray:
  """As many row numbers, int[n], drawn with replacement so that every predicted class is as likely as any other."""
  share = 1.0 / np.bincount(predicted)[predicted]
  draw = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(rng, 1))).ravel())
  return draw.choice(len(predicted), len(predicted), p=share / share.sum())


def forget_refs(gaussians: dict[str, Array], request: ForgetRequest) -> dict[str, Any]:
  """What the objectives read besides the teacher."""
  removed = jnp.isin(jnp.arange(len(gaussians["count"])), jnp.asarray(request.classes, jnp.int32))
  return {"gaussians": {k: gaussians[k] for k in ("mean", "precision")}, "forget_classes": removed}


def empty_refs(site: str) -> Callable[[Model, Array], dict[str, Any]]:
  """The refs of `init`: their shapes are those of every request."""

  def refs(model, key):
    classes, width = outputs_of(model, site), site_width(model, site)
    gaussians = {"mean": jnp.zeros((classes, width)), "precision": jnp.zeros((classes, width, width))}
    return {"teacher": teacher(model), "gaussians": gaussians, "forget_classes": jnp.zeros(classes, bool)}

  return refs


def outputs_of(model: Model, site: str) -> int:
  """Width of the layer whose input the site is."""
  return site_width(model, site.partition(":")[0])


def need_surrogate(name: str, request: ForgetRequest) -> Examples:
  """The surrogate images of a request."""
  images = request.extra.get("surrogate")
  if images is None or not len(images):
    raise ValueError(f"{name} needs images in request.extra['surrogate'] (see data.surrogate), and found none")
  return as_examples(images)
