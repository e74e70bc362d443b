"""One row of the table: a method, a seed, its scores and its cost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import unlearnjax as uj
from experiments.classify.hyper import Hyper, digest
from experiments.classify.setting import Setting, params_digest, write_json
from unlearnjax.checkpoint import CheckpointError
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
  path = setting.out / "rows" / f"{name}-{seed}.json"
  if path.exists():
    row = json.loads(path.read_text())
    if row.get("hyper") == hyper:
      return row
  row = {"method": name, "seed": seed, "hyper": hyper}
  try:
    model, cost = _model(setting, name, hyper, seed)
  except (uj.NonFiniteError, ValueError) as error:
    if isinstance(error, CheckpointError):
      raise
    row["error"] = str(error)
    write_json(path, row)
    return row
  audit = uj.audit(
    model,
    setting.request(seed),
    reference=setting.said("retrain", seed),
    original=setting.said("original", seed),
    stranger=setting.said("stranger", seed),
    seed=seed,
  )
  gold = setting.cost("retrain", seed)
  row |= {**audit.scores, **cost}
  row["cost_percent"] = 100 * cost["gradient_evaluations"] / max(gold["gradient_evaluations"], 1)
  row["params"] = params_digest(model.params)
  row["confidences"] = {k: _thinned(v) for k, v in audit.confidences.items()}
  write_json(path, to_json(row))
  return row


def _model(setting: Setting, name: str, hyper: Hyper | None, seed: int) -> tuple[uj.Model, dict[str, Any]]:
  if hyper is None:
    models = setting.originals if name == "original" else setting.oracles
    return models[seed], setting.cost(name, seed)
  method, original = setting.method(name, digest(hyper)), setting.originals[seed]
  run = setting.run.apart(f"seed{seed}", digest(hyper))
  key, start = setting.key(seed, name), None
  if uj.core.bound(method, original.fn).learn is not None:  # the stage before any request is not part of its cost
    task = uj.Task("all", 0, setting.data.train)
    prepared = next(uj.learn(method, original, [task], key=key, run=run.apart(*run.path)))
    start = (prepared.state, prepared.refs)
  result = uj.forget(method, original, setting.request(seed), key=key, run=run, start=start)
  return result.model, result.cost


def _thinned(confidence: np.ndarray) -> list[float]:
  """At most 500 quantiles of the true class's probability: as good as all of them in a histogram."""
  if len(confidence) > 500:
    confidence = np.quantile(confidence, np.linspace(0, 1, 500))
  return [round(float(p), 4) for p in confidence]
