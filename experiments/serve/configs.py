"""Configurations of the serving benchmark: one stream of requests, honoured by several systems.

The default, embedded data, about two minutes on two idle CPU cores:

  python -m experiments.serve.run --out=runs/serve

Expected of seed 0 (final test accuracy, cost of all deletions in percent of training from scratch at each):
from_scratch 97.5 and 100, sisa 96.1 and 39, s3t 94.4 and 8, safe 96.1 and 66, clpu 95.5 and 89, all of them exact;
salun 91.6 and 11, ssd 97.8 and 5, which promise nothing and fall to 79 and 87 after single deletions. S3T spends
nothing on a deletion until no stage is left, and then trains everything again. The weights of sisa, clpu and
from_scratch start fresh; the others start from, and s3t and safe keep, a model of the public part.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import optax

import unlearnjax as uj
from unlearnjax import methods, serving
from unlearnjax.report import Column, Spec


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that decides the numbers.

  Attributes:
    dataset: name for `uj.data.load`.
    model, model_options: for `uj.models.make`.
    train_size, test_size: class-balanced subsets; None takes all.
    public: share of the training data that is never asked to be forgotten; the model that all systems start from, and
      that S3T and SAFE keep frozen, is trained on it.
    learns, forgets: requests of the stream, mixed; the first one is to learn.
    largest: most examples of a request to forget.
    batch: forget requests in a row that are honoured as one.
    epochs, learning_rate, batch_size: of training (SGD with momentum 0.9).
  """

  dataset: str = "digits"
  model: str = "mlp"
  model_options: tuple[tuple[str, Any], ...] = (("widths", (128, 128)),)
  train_size: int | None = None
  test_size: int | None = None
  public: float = 0.2
  learns: int = 10
  forgets: int = 20
  largest: int = 4
  batch: int = 1
  epochs: int = 20
  learning_rate: float = 0.05
  batch_size: int = 64

  def describe(self) -> dict[str, Any]:
    """A JSON value that is equal exactly for equal configurations."""
    found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return {**found, "model_options": [[k, list(v) if isinstance(v, tuple) else v] for k, v in self.model_options]}

  def recipe(self, epochs: int | None = None, rate: float | None = None) -> uj.Recipe:
    """SGD with momentum."""
    rate = self.learning_rate if rate is None else rate
    return uj.Recipe(_sgd(rate), self.epochs if epochs is None else epochs, self.batch_size)


@functools.cache
def _sgd(rate: float):
  """One value a rate: optimizers are compared by identity."""
  return optax.sgd(rate, momentum=0.9)


CONFIGS: Mapping[str, Config] = {
  "digits": Config(),
  "fashion_mnist": Config(dataset="fashion_mnist", train_size=10_000, test_size=2_000, largest=20, batch_size=128),
}

METHODS: Mapping[str, dict[str, Any]] = {
  "sisa": {"shards": 5, "slices": 2},
  "s3t": {"shards": 4, "orders": 2, "rank": 8, "epochs": 15, "adam": 0.01},
  "safe": {"shards": 12, "degree": 2, "rank": 8, "epochs": 15, "adam": 0.01},
  "clpu": {"epochs": 40},
  "salun": {"density": 0.5, "adam": 5e-4, "epochs": 2, "learn_epochs": 8},
  "ssd": {"alpha": 30.0, "lam": 1.0, "batch_size": 8, "learn_epochs": 8},
}
"""Besides `from_scratch`, the reference. SalUn and SSD only forget: they learn by training on, on all that is known."""


@functools.cache
def method_of(name: str, config: Config, classes: int) -> uj.Method:
  """A method value, made once: its programs serve all requests and seeds."""
  given = dict(METHODS.get(name, {}))
  if name == "from_scratch":
    return methods.from_scratch(recipe=config.recipe())
  if name == "sisa":
    return methods.sisa(**given, recipe=config.recipe(), aggregate="mean")
  if name in ("s3t", "safe"):
    recipe = uj.Recipe(optax.adam(given.pop("adam")), given.pop("epochs"), config.batch_size)
    if name == "s3t":
      layers = len(dict(config.model_options).get("widths", (0, 0)))
      groups = tuple(f"blocks/{i}/.*kernel" for i in reversed(range(layers)))  # the last layers first
      return methods.s3t(groups=groups, **given, recipe=recipe)
    return methods.safe(**given, recipe=recipe)
  if name == "clpu":
    size = 2 * (config.train_size or 2_000) // config.learns
    recipe = config.recipe(given["epochs"])
    return methods.clpu(classes=classes, capacity=config.learns, task_size=size, recipe=recipe, pretrain=False)
  learn = config.recipe(given.pop("learn_epochs"))
  if name == "salun":
    given["tx"] = optax.adam(given.pop("adam"))
    given["batch_size"] = {"retain": config.batch_size, "forget": 8}
  return serving.with_learning(getattr(methods, name)(**given), learn)


def requests(config: Config, data: uj.data.Dataset, seed: int) -> tuple[uj.Examples, list[uj.Learn | uj.Forget]]:
  """The public part, and the stream of a seed.

  Tasks are equal random parts of the rest. Most requests to forget name a few examples that are known, every fifth asks
  by a predicate, and two in twenty name what was never learned or is forgotten already.
  """
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(data.train))
  public, rest = np.split(order, [round(config.public * len(order))])
  parts = [np.sort(part) for part in np.array_split(rest, config.learns)]
  kinds = ["learn"] + list(rng.permutation(["learn"] * (config.learns - 1) + ["forget"] * config.forgets))
  stream, known, gone, learned, forgotten = [], set(), [], 0, 0
  for kind in kinds:
    if kind == "learn":
      part = data.train[parts[learned]]
      stream.append(uj.Learn(uj.Task(f"part{learned}", learned, part)))
      known |= set(part.ids.tolist())
      learned += 1
      continue
    forgotten += 1
    if forgotten % 10 == 4 and gone:
      ids, reason = gone[-3:], "asked again"
    elif forgotten % 10 == 8:
      ids, reason = data.train.ids[public[: config.largest]].tolist(), "never learned"
    elif forgotten % 5 == 0:
      residue = int(rng.integers(101))
      ids, reason = [i for i in sorted(known) if i % 101 == residue], f"all ids that are {residue} modulo 101"
      stream.append(uj.Forget(where=_modulo(residue), reason=reason))
    else:
      size = int(rng.integers(1, config.largest + 1))
      ids, reason = rng.choice(sorted(known), size, replace=False).tolist(), "withdrawn"
    if not reason.startswith("all"):
      stream.append(uj.Forget([int(i) for i in ids], reason=reason))
    hit = [i for i in ids if i in known]
    known -= set(hit)
    gone += hit
  return data.train[np.sort(public)], stream


def _modulo(residue: int):
  return lambda known: known.ids % 101 == residue


def spec(config: Config) -> Spec:
  """What the report of a configuration is about."""
  return Spec(
    title=f"{config.learns} requests to learn and {config.forgets} to forget, on {config.dataset}",
    question=(
      f"A {config.model} is served while data comes and goes. Which system keeps the accuracy, what does a deletion "
      "cost, and what does it promise?"
    ),
    columns=(
      Column("accuracy", "accuracy", "higher", "%", "Test accuracy after the last request."),
      Column("mean_accuracy", "mean", "higher", "%", "Test accuracy, mean over all requests."),
      Column("lowest", "lowest", "higher", "%", "The lowest test accuracy after a deletion."),
      Column("forgotten", "forgotten", "reference", "%", "Accuracy on all that was forgotten, after the last request."),
      Column("attack", "attack", "reference", "%", "Accuracy of telling forgotten from test examples by their loss."),
      Column("exact", "exact", "higher", "%", "Share of the deletions whose receipt promises exactness."),
      Column("cost_percent", "cost", "lower", "%", "Gradient evaluations of all deletions, of those of the reference."),
      Column("learn_percent", "learning", "lower", "%", "The same of the requests to learn."),
      Column("per_deletion", "gradients", "lower", "count", "Gradient evaluations of one deletion, on average."),
      Column("seconds", "seconds", "lower", "s", "Wall time of one deletion without compilation, on average."),
    ),
    score="accuracy",
    cost="cost_percent",
    versus_cost=("accuracy", "mean_accuracy"),
    reference="from_scratch",
    anchors=(),
  )
