"""Which modules change: drift within a task, and across a change of tasks."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.tree import paths


def module_drift(before: Any, after: Any, *, depth: int | None = None) -> dict[str, float]:
  """Mean absolute change of each module's weights, >= 0: |theta' - theta|_1 / |theta|, the size of the module.

  Zhao et al., ICML 2023, arXiv:2304.04158 (paper 124): taken over an epoch within a task, and over a whole task across
  tasks. It does not depend on how many weights a module has.

  Args:
    before, after: trees of weights of one structure.
    depth: how many names of a path make a module; None for all but the last, a layer.

  Example:
    >>> old = {"a": {"w": np.zeros(4), "b": np.zeros(2)}, "head": {"w": np.zeros(2)}}
    >>> new = {"a": {"w": np.zeros(4), "b": np.full(2, 3.0)}, "head": {"w": np.ones(2)}}
    >>> module_drift(old, new)
    {'a': 1.0, 'head': 1.0}
  """
  check.same_structure("after", after, before, "before")
  if depth is not None:
    check.positive("depth", depth)
  moved: dict[str, list] = {}
  for path, a, b in zip(paths(before), jax.tree.leaves(before), jax.tree.leaves(after)):
    names = path.split("/")
    module = "/".join(names[:depth] if depth is not None else names[:-1] or names)
    moved.setdefault(module, []).append(np.abs(np.asarray(b, np.float64) - np.asarray(a, np.float64)).ravel())
  return {module: float(np.mean(np.concatenate(parts))) for module, parts in moved.items()}


def switch_sensitivity(across: dict[str, float], within: dict[str, float]) -> dict[str, float]:
  """Drift across tasks over drift within them, largest first: what is above the others belongs to single tasks.

  Args:
    across, within: from `module_drift`. A module that never moves has 0.

  Example:
    >>> switch_sensitivity({"a": 1.0, "head": 6.0, "still": 0.0}, {"a": 1.0, "head": 2.0, "still": 0.0})
    {'head': 3.0, 'a': 1.0, 'still': 0.0}
  """
  if set(across) != set(within):
    raise ValueError(f"across and within must name the same modules, got {sorted(across)} and {sorted(within)}")
  ratio = {m: across[m] / within[m] if within[m] > 0 else (np.inf if across[m] > 0 else 0.0) for m in across}
  return dict(sorted(ratio.items(), key=lambda item: -item[1]))
