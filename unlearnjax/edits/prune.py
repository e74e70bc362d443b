"""Pruning masks: global magnitude, and SynFlow, which needs no data."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree, ModelFn, Params
from unlearnjax.curvature.select import largest

Where = Callable[[str, Array], bool]
"""(path, leaf) -> whether the leaf may be pruned."""


def conv_kernel(path: str, leaf: Array) -> bool:
  """Convolution kernels, [height, width, in, out]: what sparse unlearning prunes (arXiv:2304.04934)."""
  return path.endswith("kernel") and jnp.ndim(leaf) == 4


def any_kernel(path: str, leaf: Array) -> bool:
  """Kernels of convolutions and dense layers."""
  return path.endswith("kernel") and jnp.ndim(leaf) >= 2


def magnitude_mask(params: Params, sparsity: float, where: Where = conv_kernel) -> ArrayTree:
  """One-shot magnitude pruning: False for the smallest weights over all chosen leaves together.

  Args:
    params: weights.
    sparsity: fraction removed of the n weights in chosen leaves, in [0, 1).
    where: which leaves may be pruned; the others are all True.

  Returns:
    a tree of bool arrays with exactly ceil((1 - sparsity) n) weights kept in the chosen leaves.

  Raises:
    ValueError: `where` chooses nothing.

  Example:
    >>> params = {"fc": {"kernel": jnp.array([[3.0, -1.0], [0.5, 2.0]]), "bias": jnp.zeros(2)}}
    >>> mask = magnitude_mask(params, 0.5, any_kernel)
    >>> mask["fc"]["kernel"].tolist(), mask["fc"]["bias"].tolist()
    ([[True, False], [False, True]], [True, True])
  """
  check.fraction("sparsity", sparsity, zero=True, one=False)
  chosen = _choose(params, where)
  n = sum(x.size for x in chosen.values())
  return _mask(params, largest({k: jnp.abs(v) for k, v in chosen.items()}, _kept(n, 1 - sparsity)))


def synflow_scores(
  fn: ModelFn, params: Params, input_shape: tuple[int, ...], state: ArrayTree = (), refs=None
) -> ArrayTree:
  """|theta * dR/dtheta| for R = sum of the outputs of the network with weights |theta| at an input of ones.

  Tanaka et al., arXiv:2006.05467. In eval mode; R multiplies along paths, so deep networks need float32 or wider.

  Args:
    fn: the model.
    params: weights; entries that are 0 have score 0.
    input_shape: of one example.
    state: the model's non-parameter variables.
    refs: the model's refs.

  Returns:
    a tree like `params`, >= 0.

  Example:
    >>> from unlearnjax.core.types import Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params["a"] @ params["b"])
    >>> params = {"a": jnp.array([[-2.0]]), "b": jnp.array([[3.0]])}
    >>> float(synflow_scores(fn, params, (1,))["a"][0, 0])
    6.0
  """
  size = jax.tree.map(jnp.abs, params)
  ones = {"x": jnp.ones((1, *input_shape))}
  flow = lambda p: jnp.sum(fn(p, ones, state=state, refs=refs or {}, train=False).logits)
  return jax.tree.map(lambda p, g: jnp.abs(p * g), size, jax.grad(flow)(size))


def synflow_mask(
  fn: ModelFn,
  params: Params,
  input_shape: tuple[int, ...],
  sparsity: float,
  where: Where = conv_kernel,
  *,
  rounds: int = 100,
  state: ArrayTree = (),
  refs=None,
) -> ArrayTree:
  """SynFlow pruning in rounds: after round t a fraction (1 - sparsity)^(t / rounds) of the chosen weights is left.

  Args:
    fn: the model.
    params: weights.
    input_shape: of one example.
    sparsity: fraction removed of the n weights in chosen leaves, in [0, 1).
    where: which leaves may be pruned; the others are all True.
    rounds: >= 1; a single round can cut a layer off.
    state: the model's non-parameter variables.
    refs: the model's refs.

  Returns:
    a tree of bool arrays with exactly ceil((1 - sparsity) n) weights kept in the chosen leaves.
  """
  check.fraction("sparsity", sparsity, zero=True, one=False)
  check.positive("rounds", rounds)
  n = sum(x.size for x in _choose(params, where).values())
  kept = jnp.array([_kept(n, (1 - sparsity) ** (t / rounds)) for t in range(1, rounds + 1)])

  def body(mask, keep):
    scores = synflow_scores(fn, apply_mask(params, mask), input_shape, state, refs)
    chosen = _choose(scores, lambda path, leaf: where(path, leaf))
    left = _choose(mask, lambda path, leaf: path in chosen)
    # a weight once removed never returns, whatever its score ties with
    ranked = {k: jnp.where(left[k], v, -1) for k, v in chosen.items()}
    return _mask(params, largest(ranked, keep)), None

  everything = jax.tree.map(lambda p: jnp.ones(p.shape, bool), params)
  return jax.lax.scan(body, everything, kept)[0]


def apply_mask(params: Params, mask: ArrayTree) -> Params:
  """Weights with 0 where the mask is False. Keep them there with `updates.mask_by`.

  Example:
    >>> apply_mask(jnp.array([1.0, 2.0]), jnp.array([True, False])).tolist()
    [1.0, 0.0]
  """
  check.same_structure("mask", mask, params, "params")
  return jax.tree.map(lambda p, m: jnp.where(m, p, 0), params, mask)


def _choose(tree: ArrayTree, where: Where) -> dict[str, Array]:
  chosen = {path: leaf for path, leaf in zip(paths(tree), jax.tree.leaves(tree)) if where(path, leaf)}
  if not chosen:
    raise ValueError(f"where chooses no leaf; found {paths(tree)}")
  return chosen


def _mask(params: Params, chosen: dict[str, Array]) -> ArrayTree:
  leaves, structure = jax.tree.flatten(params)
  full = [chosen.get(path, jnp.ones(leaf.shape, bool)) for path, leaf in zip(paths(params), leaves)]
  return jax.tree.unflatten(structure, full)


def _kept(n: int, density: float) -> int:
  return math.ceil(round(density * n, 6))
