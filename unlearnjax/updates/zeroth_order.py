"""Gradients from forward passes alone.

Each of these replaces the gradient that comes in by an estimate from `value_fn`, the combined loss on the step's batch
with the step's own random numbers. In a compiled step the backward pass, whose result nobody reads, is not run. First
in the chain: `optax.chain(spsa(), optax.sgd(0.1))` is ZO-SGD, `optax.chain(spsa(), optax.adam(1e-3))` ZO-Adam,
`optax.chain(spsa(), optax.sign_sgd(1e-3))` ZO-sign; `optax.chain(spsa(directional_sign=True), optax.sgd(0.1))` is what
several implementations call ZO-sign. Feng et al., ICML 2025 (paper 107).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, Params

DISTRIBUTIONS = ("normal", "rademacher")


def spsa(
  *,
  epsilon: float = 1e-3,
  samples: int = 1,
  distribution: str = "normal",
  keep: float = 1.0,
  directional_sign: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """g = mean over samples of [L(theta + eps xi) - L(theta - eps xi)] / (2 eps) * xi, xi of independent entries.

  Unbiased for a quadratic loss whatever epsilon. The variance of one normal sample is about the number of weights times
  |gradient|^2, so that learning rates shrink with the network. Each sample costs two forward passes; directions are
  drawn again from their keys, never stored for all samples.

  Args:
    epsilon: half the distance of the two points, > 0; below 1e-4 a float32 difference is mostly rounding.
    samples: q, averaged directions.
    distribution: of the entries of xi: "normal" N(0, 1), or "rademacher" +-1, of less variance.
    keep: fraction of weights, in (0, 1], that move; the others are drawn once and for all and stay.
    directional_sign: takes the sign of the difference quotient instead of its value.

  Raises:
    ValueError: arguments out of range; at update, without params, value_fn or view.

  Example:
    >>> from unlearnjax.core.types import View
    >>> tx, view = spsa(distribution="rademacher"), View(0, jax.random.key(0), {}, {}, ())
    >>> theta = jnp.array(2.0)  # in one dimension the estimate is exact
    >>> g, _ = tx.update(theta, tx.init(theta), theta, value_fn=lambda p: p**2, view=view)
    >>> round(float(g), 2)
    4.0
  """
  check.positive("epsilon", epsilon)
  check.one_of("distribution", distribution, DISTRIBUTIONS)

  def slope(value_fn, params, direction):
    ahead, back = (value_fn(_along(params, direction, sign * epsilon)) for sign in (1, -1))
    found = (ahead - back) / (2 * epsilon)
    return jnp.sign(found) if directional_sign else found

  return _estimator("spsa", slope, samples, distribution, keep)


def forward_gradient(
  *, samples: int = 1, distribution: str = "normal", keep: float = 1.0
) -> optax.GradientTransformationExtraArgs:
  """g = mean over samples of <gradient, xi> xi, the exact derivative along xi by forward-mode differentiation.

  Unbiased for any loss. A sample costs about two forward passes and stores no activations. Arguments as in `spsa`.

  Example:
    >>> from unlearnjax.core.types import View
    >>> tx, view = forward_gradient(distribution="rademacher"), View(0, jax.random.key(0), {}, {}, ())
    >>> theta = jnp.array(2.0)
    >>> float(tx.update(theta, tx.init(theta), theta, value_fn=lambda p: p**3, view=view)[0])
    12.0
  """
  slope = lambda value_fn, params, direction: jax.jvp(value_fn, (params,), (direction,))[1]
  return _estimator("forward_gradient", slope, samples, distribution, keep)


def conservative(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """Keeps the best on the batch of: not moving, the update u of `tx`, and -u. The batch's loss never rises.

  "ZO-conserve" around `optax.chain(spsa(), optax.sgd(lr))`; three more forward passes.

  Example:
    >>> tx, theta = conservative(optax.sgd(10.0)), jnp.array(1.0)
    >>> updates, _ = tx.update(jnp.array(2.0), tx.init(theta), theta, value_fn=lambda p: p**2)
    >>> float(updates)  # a step to -19 would raise the loss, and so would one to 21
    0.0
  """
  inner = optax.with_extra_args_support(tx)

  def update(updates, state, params=None, *, value_fn=None, **extra):
    if params is None or value_fn is None:
      raise ValueError("conservative needs params and value_fn, as descend passes them")
    moved, state = inner.update(updates, state, params, value_fn=value_fn, **extra)
    signs = jnp.array([0.0, 1.0, -1.0])
    scaled = lambda sign: jax.tree.map(lambda u: jnp.where(sign == 0, 0, sign.astype(u.dtype) * u), moved)
    values = jax.lax.map(lambda sign: value_fn(optax.apply_updates(params, scaled(sign))), signs)
    return scaled(signs[jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))]), state

  return optax.GradientTransformationExtraArgs(inner.init, update)


def _estimator(name, slope, samples, distribution, keep):
  check.positive("samples", samples)
  check.one_of("distribution", distribution, DISTRIBUTIONS)
  check.fraction("keep", keep)

  def update(updates, state, params=None, *, value_fn=None, view=None, **extra):
    del extra
    if params is None or value_fn is None or view is None:
      raise ValueError(f"{name} needs params, value_fn and view, as descend passes them")
    key = fold_name(view.rng, "zeroth_order")

    def add(total, sample):
      direction = _draw(jax.random.fold_in(key, sample), params, distribution, keep)
      found = slope(value_fn, params, direction)
      return jax.tree.map(lambda t, d: t + found.astype(t.dtype) * d.astype(t.dtype) / samples, total, direction), None

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)), params)
    total = jax.lax.scan(add, zeros, jnp.arange(samples))[0]
    return jax.tree.map(lambda t, u: t.astype(u.dtype), total, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _draw(key: Array, params: Params, distribution: str, keep: float) -> Params:
  """A random direction; with keep < 1 it is zero outside a fixed random set of weights."""
  draw = {"normal": jax.random.normal, "rademacher": jax.random.rademacher}[distribution]
  leaves, structure = jax.tree.flatten(params)
  found = []
  for i, leaf in enumerate(leaves):
    xi = draw(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
    if keep < 1:
      xi = jnp.where(jax.random.bernoulli(fold_name(jax.random.key(i), "zeroth_order_keep"), keep, leaf.shape), xi, 0)
    found.append(xi)
  return jax.tree.unflatten(structure, found)


def _along(params: Params, direction: Params, step: float) -> Params:
  return jax.tree.map(lambda p, d: p + jnp.asarray(step, p.dtype) * d, params, direction)
