"""Unlearning a batch before it is learnt."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name


def refresh(
  rate: float = 1e-5, *, noise: float = 1e-3, fisher: float = 1e-3, name: str = "importance"
) -> optax.GradientTransformationExtraArgs:
  """The ascent of refresh learning: for each leaf, theta <- theta + rate (U + noise xi) / (1 + fisher F).

  U = grad |theta| / |grad| is the gradient at the length of the leaf, xi ~ N(0, I), F the diagonal Fisher information
  of earlier tasks. It goes before the ordinary step on the same batch:
  `sequence(descend({"current": xent}, refresh(), name="refresh"), descend(...))`. Wang et al., ICLR 2024 (paper 45), in
  the form of the authors' code. In their text the step is gamma F^-1 grad + N(0, 2 gamma F^-1).

  Args:
    rate: delta >= 0; the length of the step is about `rate` times that of the weights. 0 changes nothing.
    noise: >= 0, standard deviation before the division.
    fisher: >= 0, weight of F.
    name: `refs[name]`, a tree like the parameters.

  Raises:
    ValueError: arguments below 0; at update, without params, view or the ref.

  Example:
    >>> from unlearnjax.core.types import View
    >>> tx, theta = refresh(0.1, noise=0.0), {"w": jnp.array([3.0, 4.0])}
    >>> view, refs = View(0, jax.random.key(0), {}, {}, ()), {"importance": {"w": jnp.zeros(2)}}
    >>> updates, _ = tx.update({"w": jnp.array([2.0, 0.0])}, tx.init(theta), theta, view=view, refs=refs)
    >>> updates["w"].tolist()  # uphill, a tenth of the length 5
    [0.5, 0.0]
  """
  for label, value in (("rate", rate), ("noise", noise), ("fisher", fisher)):
    check.positive(label, value, zero=True)

  def update(updates, state, params=None, *, view=None, refs=None, **extra):
    del extra
    if params is None or view is None:
      raise ValueError("refresh needs params and view, as descend passes them")
    if name not in (refs or {}):
      raise ValueError(f"refresh needs refs[{name!r}], zeros before the second task; found {sorted(refs or {})}")
    check.same_structure(f"refs[{name!r}]", refs[name], updates, "the parameters")
    key = fold_name(view.rng, "refresh")

    def leaf(i, gradient, theta, importance):
      wide = lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32))
      g, p = wide(gradient), wide(theta)
      long = jnp.sqrt(jnp.sum(jnp.square(g)))
      scale = jnp.where(long > 0, jnp.sqrt(jnp.sum(jnp.square(p))) / jnp.where(long > 0, long, 1.0), 0.0)
      xi = jax.random.normal(jax.random.fold_in(key, i), g.shape, g.dtype)
      return (rate * (scale * g + noise * xi) / (1 + fisher * wide(importance))).astype(gradient.dtype)

    trees = [jax.tree.leaves(tree) for tree in (updates, params, refs[name])]
    moved = [leaf(i, *leaves) for i, leaves in enumerate(zip(*trees))]
    return jax.tree.unflatten(jax.tree.structure(updates), moved), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
