"""Fisher forgetting: noise where the retain set does not mind."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name, paths
from unlearnjax.core.types import Array, ArrayTree, Params


def fisher_noise(
  params: Params,
  fisher: ArrayTree,
  key: Array,
  *,
  alpha: float,
  head: str = "head",
  forget_class: int | None = None,
) -> Params:
  """theta + sqrt(v) N(0, I) with the variances of `noise_moments`. Golatkar et al., CVPR 2020, arXiv:1911.04933.

  Args:
    params: weights.
    fisher: diagonal of the expected Fisher information on the retain set (`curvature.fisher_diag(kind="expected")`).
    key: a typed key.
    alpha: scale of the variance; 1e-9 to 1e-6 in published runs. 0 changes nothing.
    head: sub-tree that holds the classifier's kernel [d, C] and bias [C].
    forget_class: a class that is removed whole: its outputs are drawn around 0.

  Returns:
    a tree like `params`.

  Example:
    >>> params = {"head": {"kernel": jnp.ones((2, 3))}}
    >>> found = fisher_noise(params, params, jax.random.key(0), alpha=0.0)
    >>> bool((found["head"]["kernel"] == 1).all())
    True
  """
  mean, variance = noise_moments(params, fisher, alpha=alpha, head=head, forget_class=forget_class)
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(fold_name(key, "fisher_noise"), len(leaves))
  noisy = [
    m + (jnp.sqrt(v) * jax.random.normal(k, p.shape, v.dtype)).astype(p.dtype)
    for p, m, v, k in zip(leaves, jax.tree.leaves(mean), jax.tree.leaves(variance), keys)
  ]
  return jax.tree.unflatten(structure, noisy)


def noise_moments(
  params: Params, fisher: ArrayTree, *, alpha: float, head: str = "head", forget_class: int | None = None
) -> tuple[Params, ArrayTree]:
  """Mean and variance of the scrubbed weights.

  v = alpha min(1 / (F + 1e-8), 1e3), 1e2 in place of 1e3 in the head; kernels take the mean over their input axis, so
  that all weights into one unit share a variance; head and one-dimensional weights (biases, norms) get 10 v. A class
  that is removed whole gets mean 0 and, before the factor 10, variance 1e-4 in the head.

  Args:
    params: weights; kernels are [..., in, out].
    fisher: tree like `params`, >= 0.
    alpha: >= 0.
    head: sub-tree of the classifier.
    forget_class: column of the head, or None.

  Returns:
    (mean, variance), trees like `params`.

  Raises:
    ValueError: no parameter under `head`, trees that do not fit, alpha < 0.
  """
  check.positive("alpha", alpha, zero=True)
  check.same_structure("fisher", fisher, params, "params")
  names = paths(params)
  if not any(name.startswith(f"{head}/") for name in names):
    raise ValueError(f"head must be a sub-tree of the parameters, got {head!r}; found {names}")

  def leaf(name, theta, f):
    in_head = name.startswith(f"{head}/")
    wide = jnp.promote_types(theta.dtype, jnp.float32)
    variance = alpha * jnp.minimum(1 / (f.astype(wide) + 1e-8), 1e2 if in_head else 1e3)
    if theta.ndim > 1:
      variance = jnp.broadcast_to(jnp.mean(variance, axis=-2, keepdims=True), theta.shape)
    mean = theta
    if in_head and forget_class is not None:
      mean = theta.at[..., forget_class].set(0)
      variance = variance.at[..., forget_class].set(1e-4)
    return mean, variance * (10 if in_head or theta.ndim == 1 else 1)

  leaves, structure = jax.tree.flatten(params)
  found = [leaf(*each) for each in zip(names, leaves, jax.tree.leaves(fisher))]
  return jax.tree.unflatten(structure, [m for m, _ in found]), jax.tree.unflatten(structure, [v for _, v in found])


def gaussian_information(
  mean: Params, variance: ArrayTree, reference_mean: Params, reference_variance: ArrayTree
) -> Array:
  """KL(N(mean, variance) || N(reference)) over all weights, in nats: an upper bound on what is left of the forget set.

  The published notebooks omit the factor 1/2 of the divergence.

  Args:
    mean: scrubbed weights.
    variance: of the scrubbed weights, > 0.
    reference_mean: weights of a model trained without the forget set, scrubbed in the same way.
    reference_variance: > 0.

  Returns:
    f[] >= 0; 0 for equal distributions. Lower is better.

  Example:
    >>> float(gaussian_information(jnp.ones(1), jnp.ones(1), jnp.zeros(1), jnp.ones(1)))
    0.5
  """

  def leaf(m1, v1, m0, v0):
    ratio = v1 / v0
    return 0.5 * jnp.sum(jnp.square(m1 - m0) / v0 + ratio - jnp.log(ratio) - 1)

  return sum(jax.tree.leaves(jax.tree.map(leaf, mean, variance, reference_mean, reference_variance)))
