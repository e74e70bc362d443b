"""Keeping the largest singular value of every layer near one."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, Params
from unlearnjax.losses import shapes


def spectral_penalty(params: Params, directions: Mapping[str, Array], power: int = 2) -> Array:
  """R = sum_l (sigma_1(W_l)^k - 1)^2 + |b_l|^(2k), over all layers. Lewandowski et al., arXiv:2406.06811 (paper 126).

  Kernels, leaves of two or more axes, are matrices [prod(...), out], and sigma_1 is estimated by one step of power
  iteration from a direction that is passed in, with the exact gradient u v^T of the estimate. In a normalization layer,
  a module with a leaf `scale`, each element of the scale counts (gamma_i^k - 1)^2 and each of the shift beta_i^(2k).

  Args:
    params: nested dicts of one model.
    directions: {kernel name: f[out]}, unit vectors, from `spectral_start` and `spectral_step`; under stop_gradient.
    power: k >= 1.

  Returns:
    f[] >= 0; 0 for orthogonal kernels without biases, whatever the directions.

  Raises:
    ValueError: a kernel without a direction.

  Example:
    >>> params = {"kernel": jnp.diag(jnp.array([2.0, 0.5])), "bias": jnp.ones(2)}
    >>> float(spectral_penalty(params, {"kernel": jnp.array([1.0, 0.0])}))  # (4 - 1)^2 + sqrt(2)^4
    13.0
  """
  check.positive("power", power)
  named = dict(zip(paths(params), jax.tree.leaves(params)))
  total = jnp.zeros(())
  for name, leaf in named.items():
    leaf = shapes.at_least_f32(leaf)
    if leaf.ndim >= 2:
      if name not in directions:
        raise ValueError(f"the kernel {name!r} has no direction; there are {sorted(directions)}")
      sigma = _norm(_matrix(leaf) @ jax.lax.stop_gradient(directions[name]))
      total += (sigma**power - 1) ** 2
    elif name.rpartition("/")[2] == "scale":
      total += jnp.sum((leaf**power - 1) ** 2)
    elif name.rpartition("/")[0] + "/scale" in named or (name == "bias" and "scale" in named):
      total += jnp.sum(leaf ** (2 * power))
    else:
      total += jnp.sum(jnp.square(leaf)) ** power
  return total


def spectral_start(params: Params) -> dict[str, Array]:
  """Directions to begin with: for each kernel, f[out], equal entries of a unit vector with alternating signs."""
  kernels = {n: p for n, p in zip(paths(params), jax.tree.leaves(params)) if p.ndim >= 2}
  start = lambda p: jnp.cos(jnp.arange(p.shape[-1], dtype=jnp.float32)) + 0.1
  return {name: _unit(start(p)) for name, p in kernels.items()}


def spectral_step(params: Params, directions: Mapping[str, Array]) -> dict[str, Array]:
  """Directions after one step of power iteration, u <- W^T W u / |W^T W u|; they approach the top singular vectors.

  Example:
    >>> params = {"kernel": jnp.diag(jnp.array([1.0, 3.0]))}
    >>> u = spectral_start(params)
    >>> for _ in range(9):
    ...   u = spectral_step(params, u)
    >>> [round(abs(float(x)), 3) for x in u["kernel"]]
    [0.0, 1.0]
  """
  named = dict(zip(paths(params), jax.tree.leaves(params)))
  matrices = {name: _matrix(shapes.at_least_f32(named[name])) for name in directions}
  return {name: _unit(w.T @ (w @ directions[name])) for name, w in matrices.items()}


def _matrix(kernel: Array) -> Array:
  return kernel.reshape(-1, kernel.shape[-1])


def _norm(x: Array) -> Array:
  square = jnp.sum(jnp.square(x))
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _unit(x: Array) -> Array:
  return x / jnp.maximum(_norm(x), jnp.finfo(x.dtype).tiny)
