"""Every method's hyperparameters, as JSON values: they travel with the results.

`rate` and `adam` stand for the optimizer: SGD with momentum 0.9 and a cosine over the plan, or Adam. They were chosen
on seeds from 100 on, never on those that are reported, and stay within 15 % of the gradient evaluations of retraining
unless the method is meant to retrain.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import optax

import unlearnjax as uj
from experiments.classify.configs import Config, sgd
from unlearnjax import methods

Hyper = dict[str, Any]

DIGITS: Mapping[str, Hyper] = {
  "fine_tune": {"rate": 0.1, "epochs": 4, "batch_size": 64},
  "gradient_ascent": {"rate": 0.01, "epochs": 4, "batch_size": 64},
  "neg_grad_plus": {"rate": 0.05, "alpha": 0.9, "epochs": 2, "batch_size": 64},
  "random_label": {"rate": 0.05, "epochs": 2, "batch_size": 64},
  "amnesiac": {"adam": 1e-3, "epochs": 3, "batch_size": 64},
  "salun": {"rate": 0.05, "density": 0.5, "epochs": 2, "batch_size": 64},
  "l1_sparse": {"rate": 0.1, "alpha": 5e-4, "epochs": 4, "batch_size": 64},
  "prune_first": {"sparsity": 0.5},
  "cf_k": {"rate": 0.1, "k": 1, "epochs": 4, "batch_size": 64},
  "eu_k": {"k": 1},
  "scrub": {"adam": 1e-3, "alpha": 0.1, "temperature": 4.0, "epochs": 4, "max_epochs": 2},
  "scrub_r": {"adam": 1e-3, "alpha": 0.1, "temperature": 4.0, "epochs": 4, "max_epochs": 2},
  "bad_teacher": {"adam": 1e-3, "epochs": 4, "batch_size": 64},
  "stochastic_teacher": {"rate": 0.05, "erase_epochs": 2, "rebuild_epochs": 4, "batch_size": 64},
  "ssd": {"alpha": 5.0, "lam": 1.0, "batch_size": 16},
  "influence": {},
  "fisher_forgetting": {"alpha": 1e-6},
  "ntk_scrubbing": {},
  "slug": {},
  "jit_lipschitz": {"rate": 0.01},
  "pgu": {"rate": 0.01, "epochs": 4},
  "unsir": {},
  "sisa": {},
  "boundary_shrink": {"rate": 0.01, "epochs": 5, "batch_size": 64},
  "boundary_expanding": {"rate": 0.05, "epochs": 5, "batch_size": 64},
  "duck": {"adam": 1e-3, "ratio": 4, "epochs": 2, "batch_size": 128, "polish_epochs": 1},
  "scar": {"adam": 1e-3, "epochs": 10, "batch_size": 64},
  "scar_self": {"adam": 1e-3, "epochs": 10, "batch_size": 64},
  "laf": {},
  "concept_poison": {},
}
"""For the embedded digits and the MLP, forgetting a class; the base of all others."""

TUNED: Mapping[tuple[str, str], Mapping[str, Hyper]] = {}
"""What differs, by data set and kind of request."""


def hyper_of(name: str, config: Config) -> Hyper:
  """The hyperparameters of a method in a configuration."""
  kind = config.forget.split(":")[0]
  found = dict(DIGITS.get(name, {}))
  for key in ((config.dataset, "any"), (config.dataset, kind)):
    found |= TUNED.get(key, {}).get(name, {})
  return found


def method_of(name: str, config: Config, hyper: Hyper, value_range: tuple[float, float] | None) -> uj.Method:
  """The method with its hyperparameters, and what it takes from the configuration: recipe, range of a pixel."""
  factory = getattr(methods, name)
  accepted = inspect.signature(factory).parameters
  given = dict(hyper)
  if "rate" in given:
    given["tx"] = sgd(given.pop("rate"))
  if "adam" in given:
    given["tx"] = optax.adam(given.pop("adam"))
  if "recipe" in accepted:
    given["recipe"] = config.recipe
  if "value_range" in accepted:
    given["value_range"] = value_range
  return factory(**given)


def chosen(names: str, config: Config) -> dict[str, Hyper]:
  """The methods that a flag asks for, with their hyperparameters.

  Args:
    names: "all" (those that can honour the request) or names separated by commas.
    config: decides which methods make sense: some forget whole classes only.

  Raises:
    ValueError: an unknown name.
  """
  known = {name: hyper_of(name, config) for name in DIGITS if name in methods.names()}
  if names == "all":
    classwise = config.forget.startswith("class")
    return {name: h for name, h in known.items() if classwise or name not in CLASSWISE_ONLY}
  asked = [name.strip() for name in names.split(",") if name.strip()]
  for name in asked:
    if name not in known and name not in ("original", "retrain"):
      raise ValueError(f"unknown method {name!r}; there are {', '.join(known)}")
  if not asked:
    raise ValueError("--methods is empty; say 'all' or names separated by commas")
  return {name: known[name] for name in asked if name in known}


CLASSWISE_ONLY = ("unsir", "boundary_expanding", "scar_self", "concept_poison")


def digest(hyper: Hyper) -> str:
  """A short name for a set of hyperparameters; checkpoints of other settings are never resumed."""
  return hashlib.sha256(json.dumps(hyper, sort_keys=True).encode()).hexdigest()[:8]
