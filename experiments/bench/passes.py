"""Passes over every weight that `experiments.bench.kernels` times: ours, the plain jnp form, what is published.

Published code sorts all scores twice, walks over layers one operation at a time, and solves GEM's dual on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import kernels

TASKS = 20
LAYERS = 8


class Case(NamedTuple):
  """`bytes`: the least that must be moved, inputs once and outputs once. `plain` and `published` may be None."""

  name: str
  bytes: int
  ours: Callable[[], object]
  plain: Callable[[], object] | None
  published: Callable[[], object] | None
  extra: float | None = None


def tree(n: int, seed: int, dtype) -> dict:
  """n numbers in eight matrices, as many vectors and one odd leaf."""
  width = 1024 if n >= LAYERS * 2048 else 16
  rows = n // LAYERS // width - 1
  shapes = {f"{i}/{name}": s for i in range(LAYERS) for name, s in (("bias", (width,)), ("kernel", (rows, width)))}
  shapes["rest"] = (n - LAYERS * (rows + 1) * width,)
  keys = jax.random.split(jax.random.key(seed), len(shapes))
  return {k: jax.random.normal(key, s, dtype) for key, (k, s) in zip(keys, shapes.items())}


def nbytes(*trees) -> int:
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(trees))


def concatenated(t) -> jax.Array:
  return jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)])


def extra_memory(f, *arguments) -> float:
  """Memory that a compiled function needs beyond its arguments, as a fraction of them."""
  stats = jax.jit(f).lower(*arguments).compile().memory_analysis()
  return (stats.temp_size_in_bytes + stats.output_size_in_bytes) / nbytes(arguments)


def top_mask(n: int, dtype, peers: bool) -> Case:
  """The larger half of all |scores|."""
  scores, k = tree(n, 0, dtype), n // 2
  ours = lambda s: kernels.top_fraction_mask(s, 0.5, magnitude=True)

  def sort(s):
    flat = jnp.abs(concatenated(s))
    return jnp.zeros(n, bool).at[jnp.argsort(flat, descending=True, stable=True)].set(jnp.arange(n) < k)

  one = jax.jit(sort) if peers else None
  return Case(
    "top mask",
    nbytes(scores) + n,
    lambda: ours(scores),
    peers and (lambda: one(scores)),
    double_argsort(scores, k) if peers else None,
    extra_memory(ours, scores),
  )


def double_argsort(scores, k: int) -> Callable[[], object]:
  """Ranks of all scores by sorting twice, as in published code; with PyTorch where it is installed."""
  try:
    import torch
  except ImportError:

    @jax.jit
    def ranks(s):
      flat = -jnp.abs(concatenated(s))
      return jnp.argsort(jnp.argsort(flat)) < k

    return lambda: ranks(scores)

  tensors = [torch.from_numpy(np.array(x, np.float32)) for x in jax.tree.leaves(scores)]

  def published():
    flat = -torch.cat([x.flatten() for x in tensors]).abs_()
    return torch.argsort(torch.argsort(flat)) < k

  return published


def moments(n: int, dtype, peers: bool) -> Case:
  """Four sums a layer of two gradients and the weights."""
  trees = [tree(n, seed, dtype) for seed in range(3)]
  dot = lambda a, b: jnp.sum(a.astype(jnp.float32) * b.astype(jnp.float32))
  sums = lambda f, r, p: (dot(f, f), dot(r, r), dot(f, r), dot(p, p))
  ours, plain = jax.jit(kernels.layer_moments), jax.jit(lambda *t: jax.tree.map(sums, *t))
  eager = lambda: jax.tree.map(sums, *trees)
  return Case("layer moments", nbytes(trees), lambda: ours(*trees), peers and (lambda: plain(*trees)), peers and eager)


def dampening(n: int, dtype, peers: bool) -> Case:
  """Selective synaptic dampening."""
  params, a, b = (tree(n, seed, dtype) for seed in range(3))
  i_all, i_forget = jax.tree.map(jnp.square, a), jax.tree.map(jnp.square, b)
  ours = jax.jit(lambda *t: kernels.dampen(*t, alpha=10.0, lam=1.0))

  def leaf(theta, d, f):
    return jnp.where(f > 10.0 * d, theta * jnp.minimum(d / f, 1), theta)

  trees = params, i_all, i_forget
  plain, eager = jax.jit(lambda *t: jax.tree.map(leaf, *t)), lambda: jax.tree.map(leaf, *trees)
  moved = nbytes(trees, params)
  return Case("dampen", moved, lambda: ours(*trees), peers and (lambda: plain(*trees)), peers and eager)


def squares(n: int, dtype, peers: bool) -> Case:
  """A diagonal of the Fisher information, one gradient more."""
  total, gradient = tree(n, 0, jnp.float32), tree(n, 1, dtype)
  ours = jax.jit(lambda t, g: kernels.accumulate_square(t, g, 0.5))
  leaf = lambda t, g: t + 0.5 * g.astype(jnp.float32) ** 2
  plain, eager = jax.jit(lambda t, g: jax.tree.map(leaf, t, g)), lambda: jax.tree.map(leaf, total, gradient)
  moved = nbytes(total, total, gradient)
  return Case(
    "accumulate square",
    moved,
    lambda: ours(total, gradient),
    peers and (lambda: plain(total, gradient)),
    peers and eager,
  )


def masked(n: int, dtype, peers: bool) -> Case:
  """A masked update; published code multiplies by a mask of floats, then adds."""
  params, updates = tree(n, 0, dtype), tree(n, 1, dtype)
  mask = jax.tree.map(lambda x: x > 0, tree(n, 2, dtype))
  ours = jax.jit(kernels.masked_update)
  leaf = lambda p, u, m: p + u * m.astype(u.dtype)
  trees = params, updates, mask
  plain, eager = jax.jit(lambda *t: jax.tree.map(leaf, *t)), lambda: jax.tree.map(leaf, *trees)
  moved = nbytes(trees, params)
  return Case("masked update", moved, lambda: ours(*trees), peers and (lambda: plain(*trees)), peers and eager)


def gem(n: int, dtype, peers: bool) -> Case:
  """Gradient episodic memory's projection for 20 tasks: Gram, the dual, the update."""
  current = tree(n, 0, dtype)
  memory = jax.tree.map(lambda x: jnp.zeros((TASKS, *x.shape), dtype), current)
  memory = jax.jit(_filled, donate_argnums=0)(memory)

  @jax.jit
  def ours(memory, current):
    products, inner = kernels.gram(memory, current)
    return kernels.rank_update(current, memory, dual(products, inner))

  @jax.jit
  def plain(memory, current):
    rows = jnp.concatenate([x.reshape(TASKS, -1) for x in jax.tree.leaves(memory)], axis=1).astype(jnp.float32)
    g = concatenated(current).astype(jnp.float32)
    return g + dual(rows @ rows.T, rows @ g) @ rows

  moved = 2 * nbytes(memory) + 3 * nbytes(current)
  return Case(
    f"GEM step, {TASKS} tasks",
    moved,
    lambda: ours(memory, current),
    peers and (lambda: plain(memory, current)),
    peers and (lambda: on_the_host(memory, current)),
  )


def _filled(memory):
  rows = jnp.arange(1.0, TASKS + 1)
  fill = lambda x: jnp.sin(rows.reshape(-1, *(1,) * (x.ndim - 1)) * jax.lax.broadcasted_iota(jnp.float32, x.shape, 1))
  return jax.tree.map(lambda x: fill(x).astype(x.dtype), memory)


def dual(products, inner):
  """argmin_{v >= 0} |G^T v + g|^2 through a Cholesky factor, on the device."""
  size = jnp.trace(products) / TASKS + 1e-30
  factor = jnp.linalg.cholesky(products / size + 1e-3 * jnp.eye(TASKS))
  target = -jax.scipy.linalg.solve_triangular(factor, inner / size, lower=True)
  return optax.nnls(factor.T, target, iters=100)


def on_the_host(memory, current) -> object:
  """Gradients to the host, a matrix [n, T] in float64, a quadratic program, the update, and back to the device."""
  from scipy.optimize import nnls

  g = np.concatenate([np.array(x, np.float32).ravel() for x in jax.tree.leaves(current)])
  rows = np.concatenate([np.array(x, np.float32).reshape(TASKS, -1) for x in jax.tree.leaves(memory)], axis=1)
  rows, g = rows.astype(np.float64), g.astype(np.float64)
  products = rows @ rows.T
  factor = np.linalg.cholesky(products / np.trace(products) * TASKS + 1e-3 * np.eye(TASKS))
  v = nnls(factor.T, -np.linalg.solve(factor, rows @ g / np.trace(products) * TASKS))[0]
  found = (rows.T @ v + g).astype(np.float32)
  ends = np.cumsum([x.size for x in jax.tree.leaves(current)])[:-1]
  return [jax.device_put(x) for x in np.split(found, ends)]


CASES = {"mask": top_mask, "moments": moments, "dampen": dampening, "square": squares, "masked": masked, "gem": gem}
