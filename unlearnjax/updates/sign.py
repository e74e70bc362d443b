"""Signs in place of values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core.tree import fold_name


def sign(*, randomize_zeros: bool = False) -> optax.GradientTransformationExtraArgs:
  """The sign of every entry of an update; `optax.chain(sign(), optax.scale(-rate))` is sign-SGD.

  It is flat in the gradient, so what an optimum depends on through its gradients does not reach it: the upper level of
  a bilevel problem needs no implicit gradient (worst-case forget sets, Fan et al., arXiv:2403.07362).

  Args:
    randomize_zeros: entries that are zero become +1 or -1 at random, drawn from `view.rng`.

  Raises:
    ValueError: at update, `randomize_zeros` without a view.

  Example:
    >>> updates, _ = sign().update({"w": jnp.array([0.3, -2.0, 0.0])}, optax.EmptyState())
    >>> updates["w"].tolist()
    [1.0, -1.0, 0.0]
  """

  def update(updates, state, params=None, *, view=None, **extra):
    del params, extra
    signs = jax.tree.map(jnp.sign, updates)
    if not randomize_zeros:
      return signs, state
    if view is None:
      raise ValueError("sign(randomize_zeros=True) draws from view.rng: pass view= to update, as descend does")
    leaves, structure = jax.tree.flatten(signs)
    keys = jax.random.split(fold_name(view.rng, "signs"), max(len(leaves), 1))
    drawn = [jnp.where(s == 0, jax.random.rademacher(k, s.shape, s.dtype), s) for s, k in zip(leaves, keys)]
    return jax.tree.unflatten(structure, drawn), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
