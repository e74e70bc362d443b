"""Configurations of the continual benchmark: stream, model, and every method's hyperparameters.

The default, embedded data, class-incremental, a few minutes on two CPU cores:

  python -m experiments.continual.run --out=runs/continual

`joint` must come among the first in ACC and `fine_tune` among the last; replay (er, der_pp, gem, icarl, gdumb, fpf)
must lie far above what keeps no examples (ewc, si, mas, lwf, plwf, ogd), which a single head over all classes defeats;
if2net keeps none either, but answers from features that are frozen. With `--scenario=task` all lie close together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from unlearnjax.report import Column, Spec

Hyper = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that decides the numbers.

  Attributes:
    dataset: name for `uj.data.load`.
    scenario: class, task, domain, permuted, rotated, instances, blurry, group or overlap.
    tasks: how many.
    model, model_options: for `uj.models.make`.
    train_size, test_size: class-balanced subsets; None takes all.
    epochs: passes over each task; a method's own hyperparameters come first.
    batch_size: new examples of a step.
    watch_every: steps between evaluations inside the loop; 0 for none.
    watch_size: test examples of each task that are evaluated then.
    degrees: over which the tasks of "rotated" (180 by default) and "instances" (0) are spread.
    known_task: tells the task at test time where "permuted", "rotated" and "instances" do not.
    pairs: whether to look at the tangent kernels of all pairs of tasks, which takes longer than a stream of 20 tasks.
    tuned: a table of `TUNED` whose hyperparameters come before those of `METHODS`.
  """

  dataset: str = "digits"
  scenario: str = "class"
  tasks: int = 5
  model: str = "mlp"
  model_options: tuple[tuple[str, Any], ...] = (("widths", (100, 100)),)
  train_size: int | None = None
  test_size: int | None = None
  epochs: int = 5
  batch_size: int = 10
  watch_every: int = 10
  watch_size: int = 40
  degrees: float | None = None
  known_task: bool = False
  tuned: str = ""
  pairs: bool = True

  def describe(self) -> dict[str, Any]:
    """A JSON value that is equal exactly for equal configurations."""
    plain = lambda v: [plain(x) for x in v] if isinstance(v, tuple) else v
    return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


_IMAGES = {
  "model": "convnet",
  "model_options": (("downsample", "stride"), ("widths", (32, 64, 64))),
  "train_size": 10_000,
  "test_size": 2_000,
  "epochs": 3,
}
_MNIST = {"dataset": "mnist", "train_size": 1_000, "test_size": 1_000, "watch_every": 25, "pairs": False}
_LARGER = {**_MNIST, "train_size": 10_000, "test_size": 2_000, "watch_every": 0}
_INSTANCES = {**_MNIST, "train_size": 3_100, "watch_every": 0}
_SPLIT = {**_MNIST, "train_size": 5_000, "test_size": 2_000, "watch_every": 0}
_FASHION = {"train_size": 1_000, "test_size": 2_000, "watch_every": 0, "pairs": False}
CONFIGS: Mapping[str, Config] = {
  "digits": Config(),
  "mnist": Config(dataset="mnist", train_size=5_000, test_size=1_000, epochs=1),
  "fashion_mnist": Config(dataset="fashion_mnist", train_size=5_000, test_size=1_000, epochs=1),
  "cifar10": Config(dataset="cifar10", **_IMAGES),
  "cifar100": Config(dataset="cifar100", **_IMAGES),
  "fsdd": Config(dataset="fsdd", scenario="group", tasks=6),
  "clinc150": Config(dataset="clinc150", scenario="group", tasks=10, train_size=7_500, test_size=1_500),
  "banking77": Config(dataset="banking77", tasks=7),
  "mnist_rotated": Config(scenario="rotated", tasks=20, epochs=1, tuned="mnist_rotated", **_MNIST),
  "mnist_turned": Config(scenario="rotated", degrees=50, batch_size=32, epochs=10, tuned="mnist_turned", **_MNIST),
  "mnist_permuted": Config(
    scenario="permuted", tasks=10, epochs=10, batch_size=32, known_task=True, tuned="mnist_permuted", **_LARGER
  ),
  "mnist_split": Config(epochs=1, tuned="mnist_split", **_SPLIT),
  "mnist_instances": Config(
    scenario="instances", degrees=50, batch_size=32, epochs=10, known_task=True, tuned="mnist_instances", **_INSTANCES
  ),
  "fashion_overlap": Config(dataset="fashion_mnist", scenario="overlap", tasks=4, tuned="fashion_overlap", **_FASHION),
  "omniglot_small": Config(dataset="omniglot_small", scenario="group", tasks=8, epochs=10),
}
"""Speakers of digits, domains and intents of sentences, alphabets: `--scenario=class` cuts them by class instead."""


METHODS: Mapping[str, Hyper] = {
  "fine_tune": {"rate": 0.1},
  "joint": {"rate": 0.1, "epochs": 15},
  "single_task": {"rate": 0.1},
  "er": {"rate": 0.1, "capacity": 200},
  "der": {"rate": 0.1, "capacity": 200, "alpha": 0.5},
  "der_pp": {"rate": 0.1, "capacity": 200, "alpha": 0.2, "beta": 1.0},
  "gdumb": {"rate": 0.1, "capacity": 200, "epochs": 30},
  "icarl": {"rate": 1.0, "capacity": 200},
  "gem": {"rate": 0.1, "margin": 0.5, "memory_per_task": 40},
  "agem": {"rate": 0.01, "memory_per_task": 40},
  "ogd": {"rate": 0.003, "memory_per_task": 20},
  "pca_ogd": {"rate": 0.003, "memory_per_task": 20, "sampled": 100},
  "gpm": {"rate": 0.1},
  "ewc": {"rate": 0.03, "strength": 30.0},
  "online_ewc": {"rate": 0.03, "strength": 30.0},
  "si": {"rate": 0.03, "strength": 1.0},
  "mas": {"rate": 0.03, "strength": 0.3},
  "lwf": {"rate": 0.1},
  "rehearsal_free": {"rate": 0.1},
  "stable_sgd": {"rate": 0.1, "decay": 0.9},
  "tag": {"learning_rate": 2.5e-4},
  "hypernetwork": {"adam": 1e-3, "beta": 0.01, "epochs": 10, "batch_size": 32},
  "fpf": {"rate": 0.1, "capacity": 200, "steps": 300},
  "plwf": {"rate": 0.1},
  "cuber": {"rate": 0.03},
  "if2net": {"alpha": 0.01},
  "mcl": {"rate": 0.1},
  "spectral_regularization": {"rate": 0.1},
}
"""Memories hold 200 examples in all, or 40 a task; those of gradients 20 a task."""

TUNED: Mapping[str, Mapping[str, Hyper]] = {
  "mnist_rotated": {
    "gem": {"rate": 0.1, "margin": 0.5, "memory_per_task": 256},
    "fine_tune": {"rate": 0.003},
    "agem": {"rate": 0.003, "memory_per_task": 256},
    "joint": {"rate": 0.1, "epochs": 3},
    "er": {"rate": 0.1, "capacity": 5120},
    "der_pp": {"rate": 0.1, "capacity": 5120, "alpha": 0.2, "beta": 1.0},
  },
  "mnist_turned": {
    "fine_tune": {"rate": 0.01},
    "agem": {"rate": 0.01, "memory_per_task": 100},
    "ogd": {"rate": 0.01, "memory_per_task": 100},
    "pca_ogd": {"rate": 0.01, "memory_per_task": 100, "sampled": 300},
  },
  "mnist_permuted": {
    "hypernetwork": {
      "adam": 1e-3,
      "beta": 0.1,
      "epochs": 20,
      "batch_size": 128,
      "net": {"hidden": [100, 100], "chunk": 8000, "task_size": 64, "chunk_size": 32},
    },
  },
  "mnist_split": {
    "joint": {"rate": 0.1, "epochs": 3},
    "der_pp": {"rate": 0.03, "capacity": 200, "alpha": 0.2, "beta": 1.0},
  },
  "mnist_instances": {"cuber": {"rate": 0.03, "strength": 0.01, "rank": 256}},
  "fashion_overlap": {"gpm": {"rate": 0.03}},
}
"""What differs by stream; chosen on seed 100."""

LEFT_OUT = ("mcl", "spectral_regularization", "single_task")
"""Not in the table unless they are named: the first needs a trained model, the second streams of many tasks, and the
third, a network of its own for every task, learns no stream."""


def hyper_of(name: str, config: Config) -> Hyper:
  """The hyperparameters of a row in a configuration."""
  return dict(TUNED.get(config.tuned, {}).get(name, METHODS[name]))


_PERCENT = {
  "acc": ("ACC", "higher", "Mean accuracy over all tasks after the last one."),
  "bwt": ("BWT", "higher", "Backward transfer: change of a task's accuracy since it was learned, mean over old tasks."),
  "forgetting": ("forgetting", "lower", "Mean loss from the best accuracy a task ever had (Chaudhry et al. 2018)."),
  "fwt": (
    "FWT",
    "higher",
    "Accuracy on the next task before it is learned, minus that without training.",
  ),
  "aia": ("AIA", "higher", "Mean over tasks of the accuracy on the tasks so far."),
  "aaa": ("AAA", "higher", "Average anytime accuracy: the same at every evaluation inside the loop."),
  "min_acc": ("min-ACC", "higher", "Lowest accuracy of each old task at any evaluation, mean: the stability gap."),
  "la": ("LA", "higher", "Learning accuracy: each task right after it was learned."),
}
COLUMNS = (
  *(Column(name, label, better, "%", text) for name, (label, better, text) in _PERCENT.items()),
  Column("seconds", "seconds", "lower", "s", "Wall time without compilation; statistics and evaluation included."),
  Column("gradient_evaluations", "gradients", "lower", "count", "Examples through a backward pass, replayed ones too."),
  Column("kept_kb", "kept, kB", "lower", "count", "What is kept between tasks besides the weights, in kilobytes."),
)
SHOWN = ("acc", "bwt", "forgetting", "fwt", "aaa", "min_acc", "seconds", "gradient_evaluations")


def spec(config: Config) -> Spec:
  """What the report of a configuration is about."""
  return Spec(
    title=f"{config.tasks} tasks of {config.dataset}, {config.scenario}"
    + (f" by {config.degrees / config.tasks:g} degrees" if config.degrees else ""),
    question=(
      f"A {config.model} learns {config.tasks} tasks of {config.dataset} one after another ({config.scenario}). Which "
      "method knows most of all of them in the end, and what does it keep and cost?"
    ),
    columns=COLUMNS,
    score="acc",
    cost="gradient_evaluations",
    versus_cost=("acc", "forgetting"),
    reference="joint",
    anchors=("fine_tune",),
  )
