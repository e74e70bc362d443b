"""Configurations of the regression benchmark (paper 28, arXiv:2210.08196).

The default, embedded data, a minute on two CPU cores:

  python -m experiments.regression.run --out=runs/regression

Expected for a band of values: the retrained model is far worse on the band than the original; fine-tuning hardly moves,
Gaussian amnesiac moves part of the way, Blindspot comes nearest (W1), at little cost on what stays.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import optax

import unlearnjax as uj
from unlearnjax import core, losses, methods, objectives
from unlearnjax.report import Column, Spec


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that decides the numbers.

  Attributes:
    dataset: "diabetes", "california_housing" or "bike_sharing".
    forget: `range:0:0.25` (quantiles of the target) or `random:0.1`.
    model, model_options: for `uj.models.make`.
    train_size, test_size: subsets; None takes all.
    epochs, learning_rate, batch_size: of the original and of the oracle (Adam, mean absolute error).
    relearn_rate, relearn_epochs: of the relearn index (Adam).
  """

  dataset: str = "diabetes"
  forget: str = "range:0:0.25"
  model: str = "regression_mlp"
  model_options: tuple[tuple[str, Any], ...] = ()
  train_size: int | None = None
  test_size: int | None = None
  epochs: int = 100
  learning_rate: float = 0.003
  batch_size: int = 32
  relearn_rate: float = 1e-3
  relearn_epochs: int = 10

  @functools.cached_property
  def recipe(self) -> uj.Recipe:
    """How the original and the oracle are trained."""
    return uj.Recipe(optax.adam(self.learning_rate), self.epochs, self.batch_size, absolute_error)

  def describe(self) -> dict[str, Any]:
    """A JSON value that is equal exactly for equal configurations."""
    found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return {**found, "model_options": [list(option) for option in self.model_options]}


def absolute_error(fn: uj.ModelFn, *, train: bool = True):
  """Mean |f(x) - y| as an objective."""
  return objectives.supervised(fn, losses.absolute_error, train=train)


_LARGE = {"train_size": 8_000, "test_size": 2_000, "epochs": 40, "batch_size": 128}

CONFIGS: Mapping[str, Config] = {
  "diabetes": Config(),
  "california_housing": Config(dataset="california_housing", **_LARGE),
  "bike_sharing": Config(dataset="bike_sharing", **_LARGE),
}

METHODS: Mapping[str, dict[str, Any]] = {
  "fine_tune": {"rate": 1e-3, "epochs": 5},
  "gaussian_amnesiac": {"rate": 1e-3, "epochs": 1},
  "blindspot": {"rate": 1e-3, "epochs": 1, "proxy_rate": 0.01, "proxy_epochs": 2},
}
"""Adam throughout, with the batch size of the configuration."""


@functools.cache
def method_of(name: str, config: Config) -> uj.Method:
  """A method value, made once for all seeds."""
  given = {**METHODS[name], "batch_size": config.batch_size}
  given["tx"] = optax.adam(given.pop("rate"))
  if "proxy_rate" in given:
    given["proxy_tx"] = optax.adam(given.pop("proxy_rate"))
  return fine_tune(**given) if name == "fine_tune" else getattr(methods, name)(**given)


def fine_tune(*, tx: optax.GradientTransformation, epochs: int, batch_size: int) -> uj.Method:
  """Goes on training a regressor on the retain set."""

  def bind(fn: uj.ModelFn) -> uj.Verbs:
    step = uj.descend({"retain": absolute_error(fn)}, tx, state_from="retain")

    def forget(state, refs, request, run):
      plan = uj.zip_roles(retain=request.retain, batch_size=batch_size, epochs=epochs)
      return uj.fit(step, state, plan, refs, run)[0], refs

    return uj.Verbs(core.plain_init(step), core.plain_model(fn), forget=forget)

  return uj.Method("fine_tune", bind)


def spec(config: Config) -> Spec:
  """What the report of a configuration is about; errors are in standard deviations of the target."""
  what = config.forget.replace(":", " ")
  return Spec(
    title=f"Forgetting {what} of {config.dataset}",
    question=(
      f"A {config.model} learnt {config.dataset}; {what} must be forgotten. Which method predicts the forgotten values "
      "as a model does that was retrained without them, and what does it cost?"
    ),
    columns=(
      Column("w1", "W1", "lower", "", "Wasserstein-1 distance to the retrained model's predictions on the forget set."),
      Column("mae_forget", "forget", "reference", "", "Mean absolute error on the forget set."),
      Column("mae_retain", "retain", "reference", "", "Mean absolute error on the retain set."),
      Column("mae_test", "test", "reference", "", "Mean absolute error on test rows that are not to be forgotten."),
      Column("MIA", "MIA", "reference", "%", "Share of the forget set that an SVC on errors takes for members."),
      Column("AIN", "AIN", "reference", "", "Steps to relearn the forget set over those of the retrained model."),
      Column("cost_percent", "cost", "lower", "%", "Gradient evaluations in percent of those of retraining."),
      Column("seconds", "seconds", "lower", "s", "Wall time without compilation."),
    ),
    score="w1",
    cost="cost_percent",
    versus_cost=("w1", "mae_retain"),
  )
