"""Which weights a forget set lives in: scores of single weights, and whole tensors, from two gradients."""

from __future__ import annotations

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree, Params
from unlearnjax.curvature.trees import wide

STACKED = r"blocks/[^\d].*"
"""Leaves whose first axis counts layers, in the models of `models.transformer` and in adapters of them."""

Rule = Callable[[Array, Array, Array, float], Array]

ATTRIBUTIONS: dict[str, Rule] = {
  "wagle": lambda theta, forget, retain, gamma: theta * forget - retain * forget / gamma,
  "gauss_newton": lambda theta, forget, retain, gamma: theta * forget - retain * forget / (gamma + retain**2),
  "snip": lambda theta, forget, retain, gamma: theta * forget,
  "gradient": lambda theta, forget, retain, gamma: forget,
  "magnitude": lambda theta, forget, retain, gamma: theta,
}
"""Rules of `weight_attribution`: (theta, g_f, g_r, gamma) -> score, entry by entry."""


def weight_attribution(
  params: Params, forget: ArrayTree, retain: ArrayTree, *, rule: str | Rule = "wagle", gamma: float = 1e-6
) -> ArrayTree:
  """How much a weight matters to what is forgotten, and not to what is kept: WAGLE's score and those it is compared to.

  S = theta g_f - g_r g_f / gamma: the change of the forget loss when a weight is removed and the retain loss, with
  curvature gamma, answers. Jia et al. 2024, arXiv:2410.17509. `top_saliency(S, density)` makes a mask of it.

  Args:
    params: weights theta.
    forget: g_f, the gradient of the loss on the forget set, a tree like `params`.
    retain: g_r, that on the retain set.
    rule: "wagle"; "gauss_newton", whose curvature is gamma + g_r^2, weight by weight; "snip", theta g_f, to which gamma
      = infinity leads; "gradient", g_f; "magnitude", theta; or `(theta, g_f, g_r, gamma) -> scores` of a leaf.
    gamma: curvature of the retain loss, > 0, infinity included. Its scale is that of the gradients: with 1e-6, the
      paper's, the first term is too small to matter, and the order is that of |g_r g_f|.

  Returns:
    a tree like `params`, in float32 or wider. Its sign means a direction; masks rank by the magnitude.

  Raises:
    ValueError: gamma <= 0, an unknown rule, trees of different structure or shapes.

  Example:
    >>> one = lambda x: {"w": jnp.array([x])}
    >>> weight_attribution(one(2.0), one(3.0), one(4.0), gamma=8.0)["w"].tolist()
    [4.5]
    >>> weight_attribution(one(2.0), one(3.0), one(4.0), gamma=float("inf"))["w"].tolist()
    [6.0]
  """
  check.positive("gamma", gamma)
  if not callable(rule):
    check.one_of("rule", rule, tuple(ATTRIBUTIONS))
  check.same_structure("forget", forget, params, "params")
  check.same_structure("retain", retain, params, "params")
  score = rule if callable(rule) else ATTRIBUTIONS[rule]
  return jax.tree.map(lambda t, f, r: score(t, f, r, gamma), wide(params), wide(forget), wide(retain))


def tensor_region(
  forget: ArrayTree, retain: ArrayTree, *, cosine: float = 0.92, magnitude: float = 6e-4, stacked: str = STACKED
) -> ArrayTree:
  """The tensors in which forgetting and retaining pull apart and forgetting pulls hard: MemFlex's region.

  Keeps a tensor iff cos(g_f, g_r) < cosine and mean |g_f| > magnitude. Tian et al. 2024, arXiv:2407.01920.

  Args:
    forget: g_f, the gradient of the loss on the forget set.
    retain: g_r, that on the retain set, a tree like it. Its scale does not matter; where it is 0 the cosine is 0.
    cosine: mu in [-1, 1].
    magnitude: sigma >= 0, of the mean over the entries of a tensor. An absolute threshold: the paper's 6e-4 belongs to
      adapters of a model of 7 billion weights and to losses that are means over rows.
    stacked: pattern of leaves whose first axis counts layers: each layer of them is a tensor.

  Returns:
    a tree of bool arrays like `forget`.

  Raises:
    ValueError: thresholds out of range; no tensor remains, with the range of what there is.

  Example:
    >>> f = {"a": jnp.array([1.0, 0.0]), "b": jnp.array([1.0, 1.0]), "c": jnp.array([0.0, 0.0])}
    >>> r = {"a": jnp.array([0.0, 1.0]), "b": jnp.array([2.0, 2.0]), "c": jnp.array([1.0, 0.0])}
    >>> {name: bool(mask.all()) for name, mask in tensor_region(f, r).items()}
    {'a': True, 'b': False, 'c': False}
  """
  if not -1 <= cosine <= 1:
    raise ValueError(f"cosine must be in [-1, 1], got {cosine}")
  check.positive("magnitude", magnitude, zero=True)
  check.same_structure("retain", retain, forget, "forget")
  leaves, structure = jax.tree.flatten(wide(forget))
  layered = [re.fullmatch(stacked, name) is not None and leaf.ndim > 1 for name, leaf in zip(paths(forget), leaves)]
  found = [_alignment(*each) for each in zip(leaves, jax.tree.leaves(wide(retain)), layered)]
  kept = [(cos < cosine) & (size > magnitude) for cos, size in found]
  if not any(bool(mask.any()) for mask in kept):
    least = min(float(cos.min()) for cos, _ in found)
    largest = max(float(size.max()) for _, size in found)
    raise ValueError(
      f"no tensor has a cosine below {cosine:g} and a mean |gradient| above {magnitude:g}: the smallest cosine is "
      f"{least:.3g}, the largest mean |gradient| {largest:.3g}"
    )
  return structure.unflatten([jnp.broadcast_to(mask, leaf.shape) for mask, leaf in zip(kept, leaves)])


def _alignment(forget: Array, retain: Array, layered: bool) -> tuple[Array, Array]:
  """(cosine, mean |g_f|) of a tensor, or of each layer of a stack; axes stay, with length 1."""
  axes = tuple(range(1 if layered else 0, forget.ndim))
  total = lambda x: jnp.sum(x, axis=axes, keepdims=True)
  norms = jnp.sqrt(total(forget**2)) * jnp.sqrt(total(retain**2))
  cosine = jnp.where(norms > 0, total(forget * retain) / jnp.where(norms > 0, norms, 1), 0)
  return cosine, jnp.mean(jnp.abs(forget), axis=axes, keepdims=True)
