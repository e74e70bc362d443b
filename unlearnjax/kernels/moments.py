"""Sums over each leaf of products of two gradients and the weights, in one read."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree, Params
from unlearnjax.kernels.choose import check_implementation, use_pallas
from unlearnjax.kernels.elementwise import wide_dtype
from unlearnjax.kernels.stream import stream

NAMES = ("forget", "retain", "inner", "weight")


def layer_moments(
  gradient_forget: ArrayTree, gradient_retain: ArrayTree, params: Params, *, implementation: str = "auto"
) -> dict[str, dict[str, Array]]:
  """Squared norms and the inner product of two gradients and the squared norm of the weights, a leaf at a time.

  What SLUG (arXiv:2407.11867) ranks layers by.

  Args:
    gradient_forget: tree like `params`.
    gradient_retain: tree like `params`.
    params: weights.
    implementation: "auto", "xla" or "pallas"; see `unlearnjax.kernels`.

  Returns:
    {path: {"forget": |g_f|^2, "retain": |g_r|^2, "inner": <g_f, g_r>, "weight": |theta|^2}}, f[] each, in float32
    or wider.

  Raises:
    ValueError: trees of different structure or shapes.

  Example:
    >>> tree = lambda x: {"w": jnp.array(x)}
    >>> moments = layer_moments(tree([3.0, 4.0]), tree([1.0, 0.0]), tree([0.0, 2.0]))
    >>> {k: float(v) for k, v in moments["w"].items()}
    {'forget': 25.0, 'retain': 1.0, 'inner': 3.0, 'weight': 4.0}
  """
  check_implementation(implementation)
  check.same_structure("gradient_forget", gradient_forget, params, "params")
  check.same_structure("gradient_retain", gradient_retain, params, "params")
  leaves = zip(*(jax.tree.leaves(t) for t in (gradient_forget, gradient_retain, params)))
  found = [moments_of(*each, implementation) for each in leaves]
  return {path: dict(zip(NAMES, each)) for path, each in zip(paths(params), found)}


def products(forget: Array, retain: Array, theta: Array) -> tuple[Array, ...]:
  """The four terms, elementwise, in float32 or wider."""
  wide = wide_dtype(forget, retain, theta)
  f, r, p = (x.astype(wide) for x in (forget, retain, theta))
  return f * f, r * r, f * r, p * p


def moments_of(forget: Array, retain: Array, theta: Array, implementation: str = "xla") -> tuple[Array, ...]:
  """One leaf of `layer_moments`."""
  arrays = jnp.asarray(forget), jnp.asarray(retain), jnp.asarray(theta)
  if use_pallas(implementation, *arrays):
    body = lambda values, blocks, stacks: ((), products(*blocks))
    return tuple(stream(body, [], arrays, sums=(4, jnp.float32))[1])
  # XLA sums each of these in a tree, which keeps float32 accurate; one reduction of four operands would not be
  return tuple(jnp.sum(x) for x in products(*arrays))
