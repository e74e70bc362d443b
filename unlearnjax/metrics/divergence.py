"""How far the predictions of two models are apart."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree
from unlearnjax.losses import shapes
from unlearnjax.metrics import inputs


def kl(p: Array, q: Array) -> Array:
  """KL(p || q) of each row, in nats, in [0, inf]; infinite where q is 0 and p is not.

  Args:
    p: f[..., C], rows that sum to 1.
    q: f[..., C].

  Returns:
    f[...].

  Raises:
    ValueError: shapes that differ, no row, rows that are not probabilities.

  Example:
    >>> round(float(kl(jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75]))), 4)
    0.1438
  """
  inputs.pair_of_probabilities("p", p, "q", q)
  return jnp.sum(jax.scipy.special.rel_entr(shapes.at_least_f32(p), shapes.at_least_f32(q)), axis=-1)


def js_divergence(p: Array, q: Array) -> Array:
  """Jensen-Shannon divergence of each row, in nats, in [0, ln 2]; symmetric, 0 iff p = q, ln 2 iff they are disjoint.

  JS = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2. Arguments, result and errors as in `kl`.

  Example:
    >>> round(float(js_divergence(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))), 4)
    0.6931
  """
  inputs.pair_of_probabilities("p", p, "q", q)
  p, q = shapes.at_least_f32(p), shapes.at_least_f32(q)
  middle = (p + q) / 2
  half_sums = jnp.sum(jax.scipy.special.rel_entr(p, middle) + jax.scipy.special.rel_entr(q, middle), axis=-1)
  return jnp.clip(half_sums / 2, 0, math.log(2))


def zrf(probs_unlearned: Array, probs_bad_teacher: Array, *, compat: str | None = None) -> Array:
  """ZRF, zero-retrain forgetting: 1 - mean JS divergence to a randomly initialized model on the forget set.

  In [1 - ln 2, 1] = [0.307, 1], with JS in nats; near 1 when the model is as ignorant as an untrained one. Ideal: the
  value of the retrained model, which is often below 1. Source: Chundawat et al. 2023, arXiv:2205.08096.

  Args:
    probs_unlearned: f[N, C] on the forget set.
    probs_bad_teacher: f[N, C] of the incompetent teacher.
    compat: "ssd" averages KL(m || p) and KL(m || q) over all N x C elements, as the reference code does; that is not
      the JS divergence and not bounded.

  Raises:
    ValueError: shapes that differ, no row, rows that are not probabilities, an unknown `compat`.

  Example:
    >>> p = jnp.array([[0.9, 0.1], [0.2, 0.8]])
    >>> float(zrf(p, p))
    1.0
  """
  check.one_of("compat", compat, (None, "ssd"))
  if compat is None:
    return 1 - jnp.mean(js_divergence(probs_unlearned, probs_bad_teacher))
  inputs.pair_of_probabilities("probs_unlearned", probs_unlearned, "probs_bad_teacher", probs_bad_teacher)
  p, q = shapes.at_least_f32(probs_unlearned), shapes.at_least_f32(probs_bad_teacher)
  middle = (p + q) / 2
  return 1 - jnp.mean(jax.scipy.special.rel_entr(middle, p) + jax.scipy.special.rel_entr(middle, q)) / 2


def activation_distance(p: Array, q: Array) -> Array:
  """Mean Euclidean distance of two rows of probabilities, in [0, sqrt 2]; 0 to retraining is ideal.

  Source: Golatkar et al. 2021, arXiv:2012.13431. Arguments and errors as in `kl`; the result is a scalar.

  Example:
    >>> round(float(activation_distance(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]]))), 4)
    1.4142
  """
  inputs.pair_of_probabilities("p", p, "q", q)
  return jnp.mean(jnp.linalg.norm(shapes.at_least_f32(p) - shapes.at_least_f32(q), axis=-1))


def wasserstein1(a: Array, b: Array) -> Array:
  """Wasserstein-1 distance of two samples on the line, in their unit, >= 0; 0 to retraining is ideal.

  The area between the two empirical distribution functions; a shift by s gives |s|. Used on the predictions of
  regressors on the forget set. Source: Tarun et al. 2023, arXiv:2210.08196.

  Args:
    a: f[N].
    b: f[M]; the sizes may differ.

  Raises:
    ValueError: samples that are empty, not vectors or hold NaN.

  Example:
    >>> round(float(wasserstein1(jnp.array([0.0, 1.0, 2.0]), jnp.array([5.0, 3.0, 4.0]))), 4)
    3.0
  """
  for name, sample in (("a", a), ("b", b)):
    shapes.batched(name, sample, "N")
    inputs.not_empty(name, sample)
    inputs.no_nan(name, sample)
  a, b = jnp.sort(shapes.at_least_f32(a)), jnp.sort(shapes.at_least_f32(b))
  points = jnp.sort(jnp.concatenate([a, b]))
  below = lambda sample: jnp.searchsorted(sample, points[:-1], side="right") / sample.shape[0]
  return jnp.sum(jnp.abs(below(a) - below(b)) * jnp.diff(points))


def information_left(
  mean: ArrayTree, variance: ArrayTree, reference: ArrayTree, reference_variance: ArrayTree
) -> Array:
  """KL divergence of Gaussian weights around a scrubbed model from those around a retrained one, in nats, >= 0.

  KL = 1/2 sum [(mean - reference)^2 / reference_variance + r - log r - 1], r = variance / reference_variance: an upper
  bound on what the weights still tell about the forget set; 0 is ideal. The published code leaves out the 1/2.
  Source: Golatkar et al. 2020, arXiv:1911.04933.

  Args:
    mean: weights, any pytree.
    variance: variances > 0, in the structure of `mean`.
    reference: weights of the retrained model.
    reference_variance: variances > 0.

  Raises:
    ValueError: trees that differ in structure or shapes, variances that are not positive.

  Example:
    >>> float(information_left(jnp.array([1.0]), jnp.ones(1), jnp.array([3.0]), jnp.ones(1)))
    2.0
  """
  names = ("variance", "reference", "reference_variance")
  for name, tree in zip(names, (variance, reference, reference_variance)):
    check.same_structure(name, tree, mean, "mean")
  for name, tree in (("variance", variance), ("reference_variance", reference_variance)):
    least = [x.min() for x in map(inputs.concrete, jax.tree.leaves(tree)) if x is not None and x.size]
    if least and not min(least) > 0:
      raise ValueError(f"{name} must hold variances > 0, got {min(least)}")

  def leaf(m, v, m0, v0):
    m, v, m0, v0 = (shapes.at_least_f32(x) for x in (m, v, m0, v0))
    ratio = v / v0
    return jnp.sum(jnp.square(m - m0) / v0 + ratio - jnp.log(ratio) - 1) / 2

  return sum(jax.tree.leaves(jax.tree.map(leaf, mean, variance, reference, reference_variance)))
