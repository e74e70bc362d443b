"""Losses on features: prototypes, class Gaussians, attention maps."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes

EPS = 1e-12


def cosine_distance(a: Array, b: Array) -> Array:
  """1 - cos(a, b) along the last axis.

  Args:
    a: f[..., d].
    b: f[..., d].

  Returns:
    f[...] in [0, 2]; 1 where a vector is zero.

  Example:
    >>> cosine_distance(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])).tolist()
    [1.0]
  """
  shapes.same_shape("a", a, "b", b)
  return 1.0 - jnp.sum(unit(a) * unit(b), axis=-1)


def prototype_distance(features: Array, prototypes: Array, targets: Array) -> Array:
  """Cosine distance of each feature vector to the prototype of its target class (DUCK, arXiv:2312.02052).

  Args:
    features: f[B, d].
    prototypes: f[C, d].
    targets: int[B] rows of `prototypes`, in [0, C). One outside makes the distance NaN rather than a wrong number.

  Returns:
    f[B] in [0, 2].

  Example:
    >>> prototype_distance(jnp.eye(2), 3 * jnp.eye(2), jnp.array([0, 0])).tolist()
    [0.0, 1.0]
  """
  _features_and_rows(features, prototypes, targets)
  prototypes, targets = jnp.asarray(prototypes), jnp.asarray(targets)
  return shapes.nan_outside(cosine_distance(features, prototypes[targets]), targets, len(prototypes))


def nearest_wrong_prototype(features: Array, prototypes: Array, labels: Array, present: Array | None = None) -> Array:
  """The class other than the true one whose prototype is nearest in cosine distance (DUCK).

  Rows of `prototypes` are labels, so nothing shifts when a class is left out.

  Args:
    features: f[B, d].
    prototypes: f[C, d].
    labels: int[B] true classes.
    present: bool[C], classes that may be chosen; all by default. At least two must be present.

  Returns:
    int32[B], never equal to `labels`.

  Example:
    >>> nearest_wrong_prototype(jnp.array([[1.0, 0.1]]), jnp.eye(2), jnp.array([0])).tolist()
    [1]
  """
  _features_and_rows(features, prototypes, labels)
  return nearest_wrong(1.0 - unit(features) @ unit(prototypes).T, labels, present)


def nearest_wrong(distances: Array, labels: Array, present: Array | None = None) -> Array:
  """argmin over classes of `distances` f[B, C], without the true class and without classes that are not present.

  Example:
    >>> nearest_wrong(jnp.array([[0.0, 2.0, 1.0]]), jnp.array([0])).tolist()
    [2]
  """
  shapes.class_labels(distances, labels)
  shapes.two_classes("distances", distances)
  distances = jnp.asarray(distances)
  classes = jnp.arange(np.shape(distances)[1])
  allowed = classes != jnp.asarray(labels)[:, None]
  if present is not None:
    if np.shape(present) != classes.shape:
      raise ValueError(f"present must be bool[C] = bool[{classes.size}], got shape {np.shape(present)}")
    allowed &= jnp.asarray(present, bool)
  return jnp.argmin(jnp.where(allowed, distances, jnp.inf), axis=-1).astype(jnp.int32)


def tukey(features: Array, power: float = 0.5) -> Array:
  """max(z, 0)^power: makes the non-negative features of a ReLU network more Gaussian.

  The slope is taken as 0 at z = 0, where that of a power below 1 is infinite.

  Args:
    features: f[..., d]; negative entries, which a power cannot take, count as 0.
    power: delta in (0, 1].

  Example:
    >>> tukey(jnp.array([4.0, 0.0, -1.0])).tolist()
    [2.0, 0.0, 0.0]
  """
  check.fraction("power", power)
  features = shapes.at_least_f32(features)
  positive = features > 0
  return jnp.where(positive, jnp.where(positive, features, 1.0) ** power, 0.0)


def mahalanobis_squared(
  features: Array, means: Array, precisions: Array, targets: Array | None = None, power: float = 0.5
) -> Array:
  """u^T P_c u with u = t(z) / |t(z)| - mu_c / |mu_c|: distance to class Gaussians, without the root.

  SCAR, Bonato et al. 2024, arXiv:2404.12922. Only the directions are compared; means and precisions belong to the
  Tukey features t(z) = z^power before normalisation.

  Args:
    features: f[B, d], non-negative.
    means: f[C, d] of Tukey features.
    precisions: f[C, d, d], see `curvature.class_precisions`.
    targets: int[B] in [0, C), the class to measure to (one outside gives NaN); None for all classes.
    power: of the Tukey transform, in (0, 1].

  Returns:
    f[B], or f[B, C] without targets; >= 0 for positive semi-definite precisions.

  Example:
    >>> z, mean, eye = jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 0.0]]), jnp.eye(2)[None]
    >>> round(float(mahalanobis_squared(z, mean, eye, jnp.array([0]), power=1.0)[0]), 4)
    2.0
  """
  shapes.batched("features", features, "B, d")
  if np.shape(precisions) != (*np.shape(means), np.shape(means)[-1]):
    raise ValueError(f"precisions must be [C, d, d] for means [C, d] = {np.shape(means)}, got {np.shape(precisions)}")
  u, centres = unit(tukey(features, power)), unit(means)
  if targets is None:
    if np.shape(features)[-1] != np.shape(means)[-1]:
      raise ValueError(f"means must be [C, {np.shape(features)[-1]}], got shape {np.shape(means)}")
    gap = u[:, None] - centres
    return jnp.einsum("bcd,cde,bce->bc", gap, jnp.asarray(precisions), gap)
  _features_and_rows(features, means, targets)
  targets = jnp.asarray(targets)
  gap = u - centres[targets]
  found = jnp.einsum("bd,bde,be->b", gap, jnp.asarray(precisions)[targets], gap)
  return shapes.nan_outside(found, targets, len(centres))


def attention_map(activations: Array) -> Array:
  """Mean over channels of the squared activations, flattened over positions and scaled to unit length per example.

  Args:
    activations: f[B, ..., channels] with at least one axis of positions.

  Returns:
    f[B, positions].

  Example:
    >>> attention_map(jnp.array([[[3.0], [0.0]]])).tolist()
    [[1.0, 0.0]]
  """
  if np.ndim(activations) < 3:
    raise ValueError(f"activations must be [B, positions..., channels], got shape {np.shape(activations)}")
  energy = jnp.mean(jnp.square(shapes.at_least_f32(activations)), axis=-1)
  return unit(energy.reshape(energy.shape[0], math.prod(energy.shape[1:])))


def attention_transfer(a: Array, b: Array) -> Array:
  """Mean over positions of the squared difference of two attention maps; channels may differ.

  Zagoruyko & Komodakis, arXiv:1612.03928; used by Blindspot unlearning, arXiv:2210.08196.

  Args:
    a: f[B, positions..., channels].
    b: f[B, positions..., channels'].

  Returns:
    f[B] >= 0; 0 for a = b and for b = any positive multiple of a.

  Example:
    >>> a = jnp.array([[[1.0], [2.0]]])
    >>> round(float(attention_transfer(a, 3 * a)[0]), 6)
    0.0
  """
  a, b = attention_map(a), attention_map(b)
  shapes.same_shape("the map of a", a, "the map of b", b)
  return jnp.mean(jnp.square(a - b), axis=-1)


def unit(x: Array) -> Array:
  """`x` scaled to length 1 along the last axis; zero vectors stay zero and have a zero gradient.

  Example:
    >>> [round(v, 4) for v in unit(jnp.array([3.0, 4.0])).tolist()]
    [0.6, 0.8]
  """
  x = shapes.at_least_f32(x)
  square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  positive = square > EPS**2
  return jnp.where(positive, x / jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _features_and_rows(features: Array, table: Array, rows: Array) -> None:
  shapes.batched("features", features, "B, d")
  if np.ndim(table) != 2 or np.shape(table)[1] != np.shape(features)[1]:
    raise ValueError(f"prototypes must be [C, d] = [C, {np.shape(features)[1]}], got shape {np.shape(table)}")
  if np.shape(rows) != np.shape(features)[:1]:
    raise ValueError(f"class rows must be int[B] = int[{np.shape(features)[0]}], got shape {np.shape(rows)}")
  shapes.whole_numbers("class rows", rows)
