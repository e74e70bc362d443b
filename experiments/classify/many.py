"""Many models of each kind, and the attacks that compare distributions of models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

import unlearnjax as uj
from experiments.classify.configs import Config
from experiments.classify.hyper import Hyper
from experiments.classify.rows import unlearned
from experiments.classify.setting import Setting
from unlearnjax import attacks, metrics

SETS = ("forget", "retain", "test")
RELEARNED = 4  # models of each kind that are trained again
RELEARN_EPOCHS = 20


@dataclasses.dataclass(frozen=True)
class ManyConfig(Config):
  """A configuration with N models of each kind."""

  models: int = 64


@dataclasses.dataclass(eq=False)
class Many(Setting):
  """A setting whose seeds are models: all of them are asked to forget the request of the first seed."""

  def request(self, seed: int | None = None) -> uj.ForgetRequest:
    return Setting.request(self, self.seeds[0])

  @functools.cached_property
  def again(self) -> dict[int, uj.Model]:
    """A second set of oracles: what a method that is as good as retraining scores."""
    return self._models("retrain_again", [self.request().retain])

  @functools.cached_property
  def gold(self) -> Said:
    """What the oracles say."""
    return said(self.oracles.values(), self.request())

  @functools.cached_property
  def before(self) -> Said:
    """What the originals say."""
    return said(self.originals.values(), self.request())

  @functools.cached_property
  def gold_steps(self) -> float:
    """Mean relearn time of the oracles."""
    return relearn_steps(self, list(self.oracles.values())[:RELEARNED])


class Said(NamedTuple):
  """What M models say about the sets of a request.

  Attributes:
    confs: f64[M, n] logit-scaled confidences (margins) by set.
    accuracy: f64[M] in percent by set.
  """

  confs: Mapping[str, np.ndarray]
  accuracy: Mapping[str, np.ndarray]


def said(models: Iterable[uj.Model], request: uj.ForgetRequest) -> Said:
  """Asks every model about the forget, retain and test sets."""
  sources = {"forget": request.forget, "retain": request.retain, "test": request.extra["test"]}
  confs, right = ({name: [] for name in SETS} for _ in range(2))
  for model in models:
    for name, source in sources.items():
      labels = source.column("y")
      logits = uj.outputs(model, source)["logits"]
      confs[name].append(np.asarray(attacks.logit_scaled_confidence(logits, labels), np.float64))
      right[name].append(100 * np.mean(logits.argmax(-1) == labels))
  return Said({k: np.stack(v) for k, v in confs.items()}, {k: np.array(v) for k, v in right.items()})


def score(many: Many, name: str, hyper: Hyper | None) -> dict[str, Any]:
  """All scores of a method, or of the originals or the second oracles where `hyper` is None."""
  models, costs = [], []
  for seed in many.seeds:
    model, cost = _model(many, name, hyper, seed)
    models.append(model)
    costs.append(cost)
  again = sum(cost["compile_seconds"] for cost in costs[1:]) if hyper is not None else 0.0
  if again > 0:
    logging.warning("%s compiled again for later models (%.1f s)", name, again)
  found = said(models, many.request())
  steps = relearn_steps(many, models[:RELEARNED])
  gold_cost = many.cost("retrain", many.seeds[0])["gradient_evaluations"]
  spent = float(np.mean([cost["gradient_evaluations"] for cost in costs]))
  return {
    **distances(found, many.gold, many.before),
    "relearn": steps,
    "AIN": metrics.anamnesis_index(steps, many.gold_steps) if 0 < many.gold_steps < np.inf else None,
    "gradient_evaluations": spent,
    "cost_percent": 100 * spent / gold_cost,
    "seconds": float(np.mean([cost["seconds"] for cost in costs])),
    "compile_seconds": costs[0]["compile_seconds"],
    "recompile_seconds": again,
  }


def _model(many: Many, name: str, hyper: Hyper | None, seed: int) -> tuple[uj.Model, dict[str, Any]]:
  if hyper is not None:
    return unlearned(many, name, hyper, seed, uj.Run())
  if name == "original":
    return many.originals[seed], many.cost("original", seed)
  return many.again[seed], many.costs["retrain_again", seed]


def distances(found: Said, gold: Said, before: Said) -> dict[str, float]:
  """How well the strongest attacks tell unlearned from retrained models.

  Args:
    found: M unlearned models.
    gold: M models that never saw the forget set.
    before: the M originals that `found` came from.

  Returns:
    percentages in [0, 100]; epsilon, the forgetting score, the final score and KLOM in their own units.
  """
  confs, oracle = found.confs["forget"], gold.confs["forget"]
  per_example = attacks.ulira(confs, oracle)
  epsilons = attacks.forgetting_epsilon(confs, oracle)
  forgetting = attacks.forgetting_score(np.nan_to_num(epsilons), models=len(confs))  # what cannot be judged counts as 0
  mean = lambda s, name: float(s.accuracy[name].mean())
  return {
    "UA": 100 - mean(found, "forget"),
    "RA": mean(found, "retain"),
    "TA": mean(found, "test"),
    "ulira": 100 * per_example.accuracy,
    "ulira_auc": 100 * per_example.auc,
    "lira_auc": 100 * lira_auc(confs, oracle, before.confs["forget"]),
    "epsilon": float(np.nanmedian(epsilons)),
    "forgetting": forgetting,
    "final": attacks.final_score(
      forgetting, mean(found, "retain"), mean(gold, "retain"), mean(found, "test"), mean(gold, "test")
    ),
    **{
      f"klom_{name}": float(np.percentile(np.asarray(metrics.klom(found.confs[name], gold.confs[name])), 95))
      for name in SETS
    },
  }


def lira_auc(unlearned_confs: np.ndarray, oracle_confs: np.ndarray, original_confs: np.ndarray) -> float:
  """AUC of LiRA by an attacker who knows originals and oracles, but not the method; 0.5 is ideal.

  Each unlearned and each retrained model is scored on every forgotten example by the likelihood ratio of originals
  (trained on it) to oracles (not), without the original it came from and the oracle of its number.

  Args:
    unlearned_confs, oracle_confs, original_confs: f64[M, N] each, model m of the first made from m of the last.
  """
  shared = len(oracle_confs) < 64  # too few models for a variance of every example
  scores = []
  for target in (unlearned_confs, oracle_confs):
    for m, confs in enumerate(target):
      shadows = (np.delete(x, m, axis=0) for x in (original_confs, oracle_confs))
      scores.append(attacks.lira(confs, *shadows, fix_variance=shared))
  member = np.repeat([True, False], unlearned_confs.size)
  return attacks.roc_report(np.concatenate(scores), member).auc


def relearn_steps(many: Many, models: list[uj.Model]) -> float:
  """Mean steps of Adam on all training data until the forget loss is within 5 % of the original's.

  The first models of each kind share originals and orders of data.
  """
  request, steps = many.request(), []
  for m, (seed, model) in enumerate(zip(many.seeds, models)):
    loss = float(np.mean(np.logaddexp(0, -many.before.confs["forget"][m])))  # cross entropy of a margin
    steps.append(
      attacks.relearn(
        model,
        many.data.train,
        measured=request.forget,
        target_loss=1.05 * loss,
        key=jax.random.key(seed),
        batch_size=many.config.batch_size,
        max_epochs=RELEARN_EPOCHS,
      )
    )
  return float(np.mean(steps))
