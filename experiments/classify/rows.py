"""One row of the table: a method, a seed, its scores and its cost."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

import unlearnjax as uj
from experiments.classify.hyper import Hyper, digest
from experiments.classify.setting import Setting, params_digest, write_json
from unlearnjax.checkpoint import CheckpointError
from unlearnjax.core.tree import all_finite
from unlearnjax.report import to_json


def row_of(setting: Setting, name: str, hyper: Hyper | None, seed: int) -> dict[str, Any]:
  """Runs a method on a seed's request and scores it, or reads the row that an earlier run finished.

  Args:
    setting: data, request, original, oracle.
    name: of the row; `original` and `retrain` have no hyperparameters.
    hyper: of the method; a row that was made with others is made again.
    seed: decides the request, the models and the method's key.

  Returns:
    the row: scores in percent, cost, hyperparameters, a hash of the weights; or an `"error"`.
  """
  return kept_row(setting.out, name, hyper, seed, lambda: _scored(setting, name, hyper, seed))


def kept_row(
  out: pathlib.Path, name: str, hyper: Hyper | None, seed: int, scored: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
  """The row that stands in `out`, or that of `scored()`, which is written; if a method fails, the row says why.

  Raises:
    ValueError, NonFiniteError: the original or the oracle failed, without which there is nothing to compare, or a
      checkpoint is that of something else.
  """
  path = out / "rows" / f"{name}-{seed}.json"
  row = read_row(path)
  if row is not None and digest(row["hyper"]) == digest(hyper):
    return row
  row = {"method": name, "seed": seed, "hyper": hyper}
  try:
    row |= scored()
  except (uj.NonFiniteError, ValueError) as error:
    if hyper is None or isinstance(error, CheckpointError):
      raise
    row["error"] = str(error)
  row = to_json(row)
  write_json(path, row)
  return row


def read_row(path: pathlib.Path) -> dict[str, Any] | None:
  """A finished row; None where there is none, or, with a message, where the file is damaged."""
  if not path.exists():
    return None
  try:
    row = json.loads(path.read_text())
    if f"{row['method']}-{row['seed']}.json" == path.name and "hyper" in row:
      return row
  except (ValueError, KeyError, TypeError):
    pass
  logging.warning("ignoring the damaged row %s: it is made again when its method is asked for", path)
  return None


def _scored(setting: Setting, name: str, hyper: Hyper | None, seed: int) -> dict[str, Any]:
  model, cost = _model(setting, name, hyper, seed)
  audit = uj.audit(
    model,
    setting.request(seed),
    reference=setting.said("retrain", seed),
    original=setting.said("original", seed),
    stranger=setting.said("stranger", seed),
    seed=seed,
  )
  gold = setting.cost("retrain", seed)
  return {
    **audit.scores,
    **cost,
    "cost_percent": 100 * cost["gradient_evaluations"] / max(gold["gradient_evaluations"], 1),
    "params": params_digest(model.params),
    "confidences": {k: _thinned(v) for k, v in audit.confidences.items()},
  }


def _model(setting: Setting, name: str, hyper: Hyper | None, seed: int) -> tuple[uj.Model, dict[str, Any]]:
  if hyper is None:
    models = setting.originals if name == "original" else setting.oracles
    return models[seed], setting.cost(name, seed)
  return unlearned(setting, name, hyper, seed, setting.run.apart(f"seed{seed}", digest(hyper)))


def unlearned(setting: Setting, name: str, hyper: Hyper, seed: int, run: uj.Run) -> tuple[uj.Model, dict[str, Any]]:
  """The original of a seed after a method has honoured the seed's request, and what that cost.

  Raises:
    ValueError: the method cannot honour it, or left weights that are not finite.
    NonFiniteError: it diverged.
  """
  method, original = setting.method(name, digest(hyper)), setting.originals[seed]
  key, start = setting.key(seed, name), None
  if uj.core.bound(method, original.fn).learn is not None:  # the stage before any request is not part of its cost
    # methods that must see strangers while they prepare get a quarter of the test set, labels and all
    task = uj.Task("all", 0, setting.data.train, setting.data.test[::4])
    prepared = next(uj.learn(method, original, [task], key=key, run=run.apart(*run.path)))
    start = (prepared.state, prepared.refs)
  result = uj.forget(method, original, setting.request(seed), key=key, run=run, start=start)
  if not all_finite(result.model.params):
    raise ValueError(f"{name} left weights that are not finite")
  return result.model, result.cost


def _thinned(confidence: np.ndarray) -> list[float]:
  """At most 500 quantiles of the true class's probability: as good as all of them in a histogram."""
  if len(confidence) > 500:
    confidence = np.quantile(confidence, np.linspace(0, 1, 500))
  return [round(float(p), 4) for p in confidence]
