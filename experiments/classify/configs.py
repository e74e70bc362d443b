"""Configurations of the classification benchmark: data, model, recipe, and every method's hyperparameters.

The default, embedded data, about three minutes on two CPU cores:

  python -m experiments.classify.run --out=runs/quickstart
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import optax

import unlearnjax as uj
from unlearnjax import updates


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that decides the numbers.

  Attributes:
    dataset: name for `uj.data.load`.
    forget: `class:3`, `class:1,2`, `random:0.1`, `ids:...`, `worst:0.1` (hardest for the seed's model), `easy:0.1`.
    model: name for `uj.models.make`.
    model_options: its options.
    train_size, test_size: class-balanced subsets; None takes all.
    epochs, learning_rate, momentum, weight_decay, batch_size: of the original and of the oracle (SGD, cosine).
    surrogate: kind of surrogate images for methods without a retain set; empty for none.
  """

  dataset: str = "digits"
  forget: str = "class:3"
  model: str = "mlp"
  model_options: tuple[tuple[str, Any], ...] = ()
  train_size: int | None = None
  test_size: int | None = None
  epochs: int = 40
  learning_rate: float = 0.1
  momentum: float = 0.9
  weight_decay: float = 5e-4
  batch_size: int = 64
  surrogate: str = "mixed"

  @property
  def recipe(self) -> uj.Recipe:
    """How the original and the oracle are trained."""
    return uj.Recipe(sgd(self.learning_rate, self.momentum, self.weight_decay), self.epochs, self.batch_size)

  @property
  def classwise(self) -> bool:
    return self.forget.startswith("class")

  def describe(self) -> dict[str, Any]:
    """A JSON value that is equal exactly for equal configurations."""
    return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
  return [_plain(v) for v in value] if isinstance(value, tuple) else value


def sgd(rate: float, momentum: float = 0.9, decay: float = 0.0) -> optax.GradientTransformation:
  """SGD with momentum and L2 decay, annealed by a cosine over the plan, however long it is."""
  return optax.chain(
    optax.add_decayed_weights(decay), optax.sgd(rate, momentum=momentum), updates.by_progress(updates.cosine())
  )


def adam(rate: float) -> optax.GradientTransformation:
  """Adam, annealed by a cosine over the plan."""
  return optax.chain(optax.adam(rate), updates.by_progress(updates.cosine()))


_STRIDED = (("downsample", "stride"), ("widths", (32, 64, 64)))  # a fifth of the time of pooling
_SUBSET = {
  "model": "convnet",
  "model_options": _STRIDED,
  "train_size": 10_000,
  "test_size": 2_000,
  "learning_rate": 0.05,
  "batch_size": 128,
}

CONFIGS: Mapping[str, Config] = {
  "digits": Config(),
  "mnist": Config(dataset="mnist", epochs=10, **_SUBSET),
  "fashion_mnist": Config(dataset="fashion_mnist", forget="class:6", epochs=20, **_SUBSET),
  "cifar10": Config(dataset="cifar10", epochs=20, **_SUBSET),
  "cifar100": Config(dataset="cifar100", epochs=30, **_SUBSET),
  "olivetti": Config(
    dataset="olivetti", model="convnet", model_options=_STRIDED, epochs=60, learning_rate=0.02, batch_size=32
  ),
}
"""One configuration a data set: 10,000 balanced images where the set is large, so that a CPU suffices; the flags
`--train_size=0 --test_size=0` take everything."""
