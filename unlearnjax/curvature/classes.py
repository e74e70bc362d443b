"""Statistics a class: centroids of features, Gaussians of Tukey features."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import get_path
from unlearnjax.core.types import Array, Model, ModelFn, Statistic


def class_prototypes(
  fn: ModelFn, num_classes: int, site: str = "head:in", *, label: str = "y", width: int | None = None
) -> Statistic:
  """Mean feature vector of every class, in eval mode. Rows are labels, whatever classes occur.

  Args:
    fn: the model.
    num_classes: C.
    site: activation f[B, d] that serves as features.
    label: column of int labels.
    width: d; None reads it off the kernel [d, ...] of the layer whose input the site is.

  Returns:
    a Statistic whose result is {"mean": f32[C, d], "count": f32[C]}; the mean of an absent class is 0.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"], {"head:in": inputs["x"]})
    >>> statistic, model = class_prototypes(fn, 2, width=1), Model({})
    >>> batch = {"inputs": {"x": jnp.array([[1.0], [3.0]])}, "y": jnp.array([1, 1]), "valid": jnp.array([True, True])}
    >>> acc = statistic.update(statistic.init(model), model, batch, jax.random.key(0))
    >>> statistic.finish(acc)["mean"].tolist()
    [[0.0], [2.0]]
  """
  check.positive("num_classes", num_classes)

  def init(model):
    return {"total": jnp.zeros((num_classes, site_width(model, site, width))), "count": jnp.zeros(num_classes)}

  def update(acc, model, batch, rng):
    del rng
    features, member = _features(fn, model, batch, site, label, num_classes)
    return {"total": acc["total"] + _mm(member.T, features), "count": acc["count"] + member.sum(0)}

  def finish(acc):
    return {"mean": acc["total"] / jnp.maximum(acc["count"], 1)[:, None], "count": acc["count"]}

  return Statistic(init, update, finish)


def class_moments(
  fn: ModelFn,
  num_classes: int,
  site: str = "head:in",
  *,
  power: float = 0.5,
  label: str = "y",
  width: int | None = None,
) -> Statistic:
  """Mean and covariance of the Tukey features z^power of every class, in eval mode (SCAR, arXiv:2404.12922).

  Batches are merged by their own means, so large means do not cost the covariance its digits.

  Args:
    fn: the model.
    num_classes: C.
    site: activation f[B, d], non-negative.
    power: of the Tukey transform, in (0, 1].
    label: column of int labels.
    width: d; None reads it off the kernel [d, ...] of the layer whose input the site is.

  Returns:
    a Statistic whose result is {"mean": f32[C, d], "covariance": f32[C, d, d], "count": f32[C]}; covariances divide by
    count - 1 and are 0 for classes with fewer than two examples.
  """
  check.positive("num_classes", num_classes)
  check.fraction("power", power)

  def init(model):
    d = site_width(model, site, width)
    return {
      "mean": jnp.zeros((num_classes, d)),
      "scatter": jnp.zeros((num_classes, d, d)),
      "count": jnp.zeros(num_classes),
    }

  def update(acc, model, batch, rng):
    del rng
    features, member = _features(fn, model, batch, site, label, num_classes)
    features = losses.tukey(features, power)
    count = member.sum(0)
    mean = _mm(member.T, features) / jnp.maximum(count, 1)[:, None]
    centred = features - _mm(member, mean)
    scatter = jnp.einsum("bc,bd,be->cde", member, centred, centred, precision="highest")
    both = acc["count"] + count
    gap = mean - acc["mean"]
    share = count / jnp.maximum(both, 1)
    between = (acc["count"] * share)[:, None, None] * gap[:, :, None] * gap[:, None, :]
    return {
      "mean": acc["mean"] + share[:, None] * gap,
      "scatter": acc["scatter"] + scatter + between,
      "count": both,
    }

  def finish(acc):
    covariance = acc["scatter"] / jnp.maximum(acc["count"] - 1, 1)[:, None, None]
    return {"mean": acc["mean"], "covariance": covariance, "count": acc["count"]}

  return Statistic(init, update, finish)


def shrink(covariance: Array, diagonal: float, off_diagonal: float) -> Array:
  """S + g1 V1 I + g2 V2 (1 - I), V1 the mean of the diagonal, V2 that of the non-zero entries off it.

  Args:
    covariance: f[..., d, d].
    diagonal: g1 >= 0.
    off_diagonal: g2 >= 0.

  Example:
    >>> shrink(jnp.array([[1.0, 0.5], [0.5, 3.0]]), 1.0, 2.0).tolist()
    [[3.0, 1.5], [1.5, 5.0]]
  """
  check.positive("diagonal", diagonal, zero=True)
  check.positive("off_diagonal", off_diagonal, zero=True)
  eye = jnp.eye(covariance.shape[-1], dtype=bool)
  off = (covariance != 0) & ~eye
  v1 = jnp.mean(jnp.diagonal(covariance, axis1=-2, axis2=-1), axis=-1)[..., None, None]
  v2 = jnp.sum(jnp.where(off, covariance, 0), axis=(-2, -1)) / jnp.maximum(off.sum((-2, -1)), 1)
  return covariance + jnp.where(eye, diagonal * v1, off_diagonal * v2[..., None, None])


def to_correlation(covariance: Array) -> Array:
  """S_ij / (sd_i sd_j): diagonal 1. Coordinates without variance become uncorrelated.

  Args:
    covariance: f[..., d, d].

  Example:
    >>> to_correlation(jnp.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
  """
  sd = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance, axis1=-2, axis2=-1), 0))
  scale = jnp.where(sd > 0, 1 / jnp.where(sd > 0, sd, 1), 0)
  eye = jnp.eye(covariance.shape[-1], dtype=bool)
  return jnp.where(eye, 1.0, covariance * scale[..., :, None] * scale[..., None, :])


def shrink_to_correlation(covariance: Array, diagonal: float = 3.0, off_diagonal: float = 3.0, times: int = 2) -> Array:
  """Shrinks `times` times, then normalises to a correlation matrix: SCAR's order.

  Args:
    covariance: f[..., d, d].
    diagonal: g1 >= 0.
    off_diagonal: g2 >= 0.
    times: 2; 1 in the variant without a forget set.
  """
  for _ in range(times):
    covariance = shrink(covariance, diagonal, off_diagonal)
  return to_correlation(covariance)


def class_precisions(covariance: Array, diagonal: float = 3.0, off_diagonal: float = 3.0, times: int = 2) -> Array:
  """Pseudo-inverse of the shrunk correlation matrix of every class: f[C, d, d], for `losses.mahalanobis_squared`.

  Example:
    >>> class_precisions(jnp.eye(2)[None]).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
  """
  return jnp.linalg.pinv(shrink_to_correlation(covariance, diagonal, off_diagonal, times), hermitian=True)


def site_width(model: Model, site: str, width: int | None = None) -> int:
  """Length of the features at a site such as "head:in", read off the kernel [..., d, out] it feeds."""
  if width is not None:
    return width
  layer, _, side = site.partition(":")
  try:
    return get_path(model.params, (*layer.split("/"), "kernel")).shape[-2 if side == "in" else -1]
  except (ValueError, TypeError, KeyError) as e:
    raise ValueError(f"the width of site {site!r} cannot be read off params[{layer!r}]['kernel']: give width=") from e


def _features(fn, model, batch, site, label, num_classes) -> tuple[Array, Array]:
  """(features f[B, d], membership f[B, C] with zero rows where not valid)."""
  out = fn(model.params, batch["inputs"], state=model.state, refs=model.refs, train=False, capture=(site,))
  features = losses.shapes.at_least_f32(out.hidden[site])
  losses.shapes.batched(f"the activation at {site!r}", features, "B, d")
  member = jax.nn.one_hot(batch[label], num_classes, dtype=features.dtype)
  return jnp.where(batch["valid"][:, None], features, 0), member * batch["valid"][:, None]


def _mm(a: Array, b: Array) -> Array:
  return jnp.matmul(a, b, precision="highest")
