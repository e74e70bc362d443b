"""One layer, one gradient, one searched step. SLUG, Cai et al. 2024, arXiv:2407.11867."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree, Params

SKIP = r"(^|/)bias$|logit_scale|embed|position"


class StepSearch(NamedTuple):
  """`step`: the smallest step found that meets the target, or the last one tried; `value`: its metric; `met`: whether
  it meets the target; `trials`: all (step, value) in order."""

  step: float
  value: float
  met: bool
  trials: list[tuple[float, float]]


def layer_scores(moments: Mapping[str, Mapping[str, Array]], skip: str = SKIP) -> dict[str, tuple[float, float]]:
  """(importance |g_f| / |theta|, alignment |cos(g_f, g_r)|) of every layer. Host side.

  Args:
    moments: of `curvature.layer_moments`.
    skip: regular expression of paths that are never edited: biases, logit scales, embeddings.

  Returns:
    {path: (importance >= 0, alignment in [0, 1])}. Layers without any forget gradient are left out.

  Example:
    >>> one = {"forget": 4.0, "retain": 1.0, "inner": 1.0, "weight": 16.0}
    >>> layer_scores({"fc/kernel": one, "fc/bias": one})
    {'fc/kernel': (0.5, 0.5)}
  """
  scores = {}
  for path, m in moments.items():
    forget, retain, inner, weight = (float(m[k]) for k in ("forget", "retain", "inner", "weight"))
    if re.search(skip, path) or forget == 0:
      continue
    alignment = abs(inner) / np.sqrt(forget * retain) if retain else 0.0
    scores[path] = (float(np.sqrt(forget / weight)) if weight else float("inf"), float(alignment))
  return scores


def pareto_layers(moments: Mapping[str, Mapping[str, Array]], skip: str = SKIP) -> list[str]:
  """Layers that no other layer beats in both importance (more) and alignment (less), strictly. Host side.

  Args:
    moments: of `curvature.layer_moments`.
    skip: regular expression of paths that are never edited.

  Returns:
    paths, most important first. Ties are not beaten, so equal layers all stay.

  Example:
    >>> layer = lambda f, i: {"forget": f, "retain": 1.0, "inner": i, "weight": 1.0}
    >>> pareto_layers({"a/kernel": layer(4.0, 0.0), "b/kernel": layer(1.0, 0.5), "c/kernel": layer(9.0, 1.0)})
    ['c/kernel', 'a/kernel']
  """
  scores = layer_scores(moments, skip)
  beaten = lambda s: any(o[0] > s[0] and o[1] < s[1] for o in scores.values())
  return sorted((p for p, s in scores.items() if not beaten(s)), key=lambda p: -scores[p][0])


def initial_step(moments: Mapping[str, Mapping[str, Array]], path: str, divisor: float = 10.0) -> float:
  """(|theta_l| / |g_f,l|) / divisor: where the search of a layer's step begins.

  Example:
    >>> initial_step({"w": {"forget": 4.0, "weight": 16.0}}, "w")
    0.2
  """
  check.positive("divisor", divisor)
  return float(np.sqrt(float(moments[path]["weight"]) / float(moments[path]["forget"]))) / divisor


def step_along(params: Params, path: str, direction: ArrayTree, lam: float | Array) -> Params:
  """theta_l - lam direction_l in the one layer at `path`; all other leaves are the same objects.

  With the direction the gradient of minus the forget loss, a positive lam ascends the forget loss.

  Args:
    params: weights.
    path: of one leaf, e.g. `blocks/0/conv/kernel`.
    direction: tree like `params`.
    lam: length of the step.

  Raises:
    ValueError: a path that does not exist, or a direction of another structure.

  Example:
    >>> params = {"a": np.ones(1), "b": np.ones(1)}
    >>> found = step_along(params, "a", params, 0.25)
    >>> found["a"].tolist(), found["b"] is params["b"]
    ([0.75], True)
  """
  check.same_structure("direction", direction, params, "params")
  names = paths(params)
  check.one_of("path", path, names)
  leaves, structure = jax.tree.flatten(params)
  at = names.index(path)
  leaves[at] = (leaves[at] - lam * jax.tree.leaves(direction)[at]).astype(leaves[at].dtype)
  return jax.tree.unflatten(structure, leaves)


def search_step(
  evaluate: Callable[[float], float], start: float, target: float = 0.0, max_evals: int = 10
) -> StepSearch:
  """The smallest step whose metric is at most the target: doubling until one is found, then bisection. Host side.

  Args:
    evaluate: step -> metric on the forget set, taken from the original weights each time; assumed to fall.
    start: first step tried, > 0.
    target: largest metric that counts as forgotten.
    max_evals: trials in all.

  Returns:
    a StepSearch; `met` is False when no trial reached the target.

  Example:
    >>> found = search_step(lambda step: max(0.0, 1 - step), start=0.25, target=0.0, max_evals=10)
    >>> found.met, round(found.step, 2)
    (True, 1.0)
  """
  check.positive("start", start)
  check.positive("max_evals", max_evals)
  low, best, step, trials = 0.0, None, float(start), []
  for _ in range(max_evals):
    value = float(evaluate(step))
    trials.append((step, value))
    if value > target:
      low = step
    else:
      best = (step, value)
    step = 2 * step if best is None else (low + best[0]) / 2
  return StepSearch(*(best or trials[-1]), best is not None, trials)
