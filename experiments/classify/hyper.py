"""Every method's hyperparameters, as JSON values: they travel with the results.

`rate` and `adam` (also `impair_adam` and so on) stand for an optimizer: SGD with momentum 0.9, or Adam, both annealed
by a cosine over the plan. They were chosen on seeds from 100 on, never on those that are reported, and most stay within
15 % of the gradient evaluations of retraining; the column `cost` says which do not.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import unlearnjax as uj
from experiments.classify.configs import Config, adam, sgd
from unlearnjax import methods

Hyper = dict[str, Any]

DIGITS: Mapping[str, Hyper] = {
  "fine_tune": {"rate": 0.05, "epochs": 4, "batch_size": 64},
  "gradient_ascent": {"rate": 0.05, "epochs": 4, "batch_size": 64},
  "neg_grad": {"rate": 0.02, "alpha": 0.9, "epochs": 2, "batch_size": {"retain": 64, "forget": 16}},
  "neg_grad_plus": {"rate": 0.03, "alpha": 0.9, "epochs": 3, "batch_size": {"retain": 64, "forget": 16}},
  "random_label": {"rate": 0.05, "epochs": 2, "batch_size": 64},
  "amnesiac": {"adam": 1e-3, "epochs": 3, "batch_size": 64},
  "salun": {"rate": 0.05, "density": 0.5, "epochs": 2, "batch_size": 64},
  "l1_sparse": {"rate": 0.1, "alpha": 4e-3, "epochs": 5, "batch_size": 64},
  "prune_first": {"sparsity": 0.95},
  "cf_k": {"rate": 0.05, "k": 1, "epochs": 4, "batch_size": 64},
  "eu_k": {"k": 1},
  "scrub": {"adam": 3e-3, "alpha": 0.01, "temperature": 4.0, "epochs": 4, "max_epochs": 3},
  "scrub_r": {"adam": 3e-3, "alpha": 0.01, "temperature": 4.0, "epochs": 4, "max_epochs": 3},
  "bad_teacher": {"adam": 1e-3, "epochs": 4, "batch_size": 64},
  "stochastic_teacher": {"rate": 0.05, "erase_epochs": 2, "rebuild_epochs": 4, "batch_size": 64},
  "ssd": {"alpha": 8.0, "lam": 1.0, "batch_size": 8},
  "influence": {"alpha": 20.0, "iterations": 10},
  "fisher_forgetting": {"alpha": 1e-6},
  "certified_removal": {"sigma": 5.0, "l2": 0.01, "bound": "rows", "solver_iterations": 50},
  "noisy_gd": {"noise": 0.02, "l2": 0.02, "radius": 2.0, "learning_rate": 0.39, "steps": 600, "forget_steps": 300},
  "meta_unlearn": {"width": 64, "rate": 0.05, "adam": 5e-4, "epochs": 4, "people": 5, "rows_per_person": 8},
  "ntk_scrubbing": {},
  "l_codec": {
    "weight_decay": 0.01,
    "epsilon": 1e9,
    "group": 16,
    "copies": 50,
    "hessian": "gauss_newton",
    "max_examples": 256,
    "iterations": 10,
  },
  "slug": {},
  "jit_lipschitz": {"rate": 1e-3, "sigma": 2.0, "batch_size": 16},
  "pgu": {"rate": 0.5, "epochs": 5, "energy": 0.75},
  "unsir": {"impair_adam": 0.005, "repair_adam": 0.005, "copies": 5, "retain_per_class": 60, "batch_size": 64},
  "sisa": {"shards": 5, "slices": 5},
  "boundary_shrink": {"rate": 0.01, "eps": 0.3, "epochs": 4, "batch_size": 64},
  "boundary_expanding": {"rate": 0.003, "epochs": 4, "batch_size": 64},
  "duck": {"adam": 3e-3, "ratio": 4, "epochs": 2, "batch_size": 128, "polish_epochs": 1},
  "scar": {"adam": 4e-3, "epochs": 4, "batch_size": 32},
  "scar_self": {"adam": 4e-3, "epochs": 60, "batch_size": 32},
  "laf": {"extract_adam": 3e-3, "align_adam": 6e-3},
  "concept_poison": {"rate": 0.02, "epochs": 4, "batch_size": 32},
}
"""For the embedded digits and the MLP, forgetting a class; the base of all others."""

_CONVNET_CLASS: Mapping[str, Hyper] = {
  "fine_tune": {"rate": 0.01, "epochs": 3, "batch_size": 128},
  "gradient_ascent": {"rate": 7e-4, "epochs": 2},
  "neg_grad": {"rate": 1e-3, "alpha": 0.97, "epochs": 2, "batch_size": {"retain": 64, "forget": 8}},
  "neg_grad_plus": {"rate": 1e-3, "alpha": 0.97, "epochs": 2, "batch_size": {"retain": 64, "forget": 8}},
  "random_label": {"rate": None, "adam": 1e-3, "epochs": 2, "batch_size": {"retain": 64, "forget": 8}},
  "amnesiac": {"adam": 1e-3, "epochs": 2},
  "salun": {"rate": None, "adam": 1e-3, "epochs": 2, "batch_size": {"retain": 64, "forget": 8}, "exclude_true": True},
  "l1_sparse": {"rate": 0.05, "alpha": 1e-3, "epochs": 3, "batch_size": 128},
  "cf_k": {"rate": 0.01, "epochs": 3, "batch_size": 128},
  "scrub": {"adam": 1e-3, "epochs": 2, "max_epochs": 2, "batch_size": {"retain": 32, "forget": 128}},
  "scrub_r": {"adam": 1e-3, "epochs": 2, "max_epochs": 2, "batch_size": {"retain": 32, "forget": 128}},
  "bad_teacher": {"adam": 1e-3, "epochs": 4},
  "stochastic_teacher": {"rate": 0.02, "erase_epochs": 2, "rebuild_epochs": 2},
  "ssd": {"alpha": 7.0, "batch_size": 32},
  "influence": {"alpha": 2.0},
  "fisher_forgetting": {"alpha": 1e-7},
  "jit_lipschitz": {"rate": 3e-5, "sigma": None, "batch_size": None},
  "pgu": {"rate": 0.01, "epochs": 3},
  "unsir": {"impair_adam": 0.002, "repair_adam": 0.002, "retain_per_class": 400, "batch_size": 128},
  "boundary_shrink": {"rate": 2e-3, "eps": 0.1, "epochs": 2},
  "boundary_expanding": {"rate": 1e-3, "epochs": 2},
  "duck": {"adam": 7e-4, "ratio": 4, "epochs": 3, "batch_size": 256, "polish_epochs": 0},
  "scar": {"adam": 2e-3, "epochs": 2, "batch_size": 128},
  "scar_self": {"adam": 1e-3, "epochs": 4, "batch_size": 128},
  "laf": {"extract_adam": 2e-3, "align_adam": 4e-3, "epochs": 10, "vae_epochs": 1, "batch_size": 64},
  "concept_poison": {"epochs": 2, "batch_size": 64},
}
_CONVNET_RANDOM: Mapping[str, Hyper] = _CONVNET_CLASS | {
  "scar": {"adam": 1e-3, "epochs": 2, "batch_size": 128},
  "random_label": {"rate": None, "adam": 3e-4, "epochs": 2, "batch_size": {"retain": 64, "forget": 8}},
  "amnesiac": {"adam": 3e-4, "epochs": 2},
  "salun": {"rate": None, "adam": 4e-4, "epochs": 2, "batch_size": {"retain": 64, "forget": 8}},
  "l1_sparse": {"rate": 0.05, "alpha": 5e-4, "epochs": 3, "batch_size": 128},
  "scrub": {"adam": 1e-3, "alpha": 0.05, "epochs": 2, "max_epochs": 2, "batch_size": {"retain": 64, "forget": 128}},
  "scrub_r": {"adam": 1e-3, "alpha": 0.05, "epochs": 2, "max_epochs": 2, "batch_size": {"retain": 64, "forget": 128}},
  "bad_teacher": {"adam": 3e-4, "epochs": 2},
  "stochastic_teacher": {"rate": 5e-3, "erase_epochs": 1, "rebuild_epochs": 2},
  "ssd": {"alpha": 1.5, "batch_size": 32},
  "slug": {"target": 0.87},
  "boundary_shrink": {"rate": 1e-3, "eps": 0.1, "epochs": 2},
  "duck": {"adam": 1e-3, "ratio": 3, "epochs": 3, "batch_size": 256, "polish_epochs": 0},
}
_DIGITS_RANDOM: Mapping[str, Hyper] = {
  "gradient_ascent": {"rate": 0.01, "epochs": 2},
  "neg_grad_plus": {"rate": 0.01, "alpha": 0.95, "epochs": 3, "batch_size": {"retain": 64, "forget": 8}},
  "random_label": {"rate": None, "adam": 5e-4, "epochs": 3, "batch_size": {"retain": 64, "forget": 8}},
  "amnesiac": {"adam": 5e-4, "epochs": 3},
  "salun": {"rate": None, "adam": 5e-4, "epochs": 3, "batch_size": {"retain": 64, "forget": 8}},
  "l1_sparse": {"rate": 0.1, "alpha": 1e-3, "epochs": 5},
  "scrub": {"adam": 1e-3, "alpha": 0.5, "epochs": 4, "max_epochs": 1},
  "scrub_r": {"adam": 1e-3, "alpha": 0.5, "epochs": 4, "max_epochs": 1},
  "bad_teacher": {"adam": 3e-4, "epochs": 2},
  "stochastic_teacher": {"rate": 0.01, "erase_epochs": 1, "rebuild_epochs": 4},
  "ssd": {"alpha": 30.0},
  "influence": {"alpha": 1.0},
  "fisher_forgetting": {"alpha": 1e-7},
  "slug": {"target": 0.98},
  "jit_lipschitz": {"rate": 1e-5, "sigma": None, "batch_size": None},
  "pgu": {"rate": 0.05, "epochs": 2},
  "boundary_shrink": {"rate": 1e-3, "epochs": 1},
  "duck": {"adam": 1e-3},
}
_SETS_OF_ROWS = ("random", "ids", "worst", "easy")
_SETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "olivetti")
TUNED: Mapping[tuple[str, str], Mapping[str, Hyper]] = {
  **{("digits", kind): _DIGITS_RANDOM for kind in _SETS_OF_ROWS},
  **{(name, "class"): _CONVNET_CLASS for name in _SETS},
  **{(name, kind): _CONVNET_RANDOM for name in _SETS for kind in _SETS_OF_ROWS},
}
"""What differs by data set and kind of request. The ConvNet's were chosen on Fashion-MNIST and are used as they are on
other sets."""


def hyper_of(name: str, config: Config) -> Hyper:
  """The hyperparameters of a method in a configuration."""
  kind = config.forget.split(":")[0]
  found = DIGITS.get(name, {}) | TUNED.get((config.dataset, kind), {}).get(name, {})
  return {key: value for key, value in found.items() if value is not None}


def method_of(name: str, config: Config, hyper: Hyper, value_range: tuple[float, float] | None) -> uj.Method:
  """The method with its hyperparameters, and what it takes from the configuration: recipe, range of a pixel."""
  factory = getattr(methods, name)
  accepted = inspect.signature(factory).parameters
  given = dict(hyper)
  for key in [k for k in given if k not in accepted and k.split("_")[-1] in ("rate", "adam")]:
    role, _, kind = key.rpartition("_")  # "impair_adam" is the optimizer `impair`, "extract_adam" `extract_tx`
    target = role if role in accepted else f"{role}_tx".lstrip("_")
    given[target] = (sgd if kind == "rate" else adam)(given.pop(key))
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
    left_out = ROWWISE_ONLY if classwise else CLASSWISE_ONLY
    return {name: h for name, h in known.items() if name not in left_out}
  asked = [name.strip() for name in names.split(",") if name.strip()]
  for name in asked:
    if name not in known and name not in ("original", "retrain"):
      raise ValueError(f"unknown method {name!r}; there are {', '.join(known)}")
  if not asked:
    raise ValueError("--methods is empty; say 'all' or names separated by commas")
  return {name: known[name] for name in asked if name in known}


CLASSWISE_ONLY = ("unsir", "boundary_expanding", "scar_self", "concept_poison")
ROWWISE_ONLY = ("meta_unlearn",)
"""Makes rows as unfamiliar as rows of the same classes that were never seen: a class is not forgotten that way."""


def digest(hyper: Hyper) -> str:
  """A short name for a set of hyperparameters; checkpoints of other settings are never resumed."""
  return hashlib.sha256(json.dumps(hyper, sort_keys=True).encode()).hexdigest()[:8]
