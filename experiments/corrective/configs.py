"""Configurations of the corrective benchmark: which damage, and how much of it is known (paper 44, arXiv:2402.14015).

The default, embedded data, a few minutes on two CPU cores:

  python -m experiments.corrective.run --out=runs/corrective

Expected of a backdoor: fine-tuning mends nothing, retraining without the known rows (`eu`) little until most of them
are known, `ssd` part of it from a tenth, at a small loss elsewhere. On the embedded digits a tenth is seven rows, and
whether `ssd` works from them depends on the seed (10 to 42 % corrected for the seeds 0 and 1). Of confused classes:
retraining and fine-tuning mend more the more is known; `ssd` is no better and costs accuracy elsewhere. `oracle` is
trained without any manipulated row; on digits the 3x3 patch hides part of the image, so that even it errs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import unlearnjax as uj
from experiments.classify import configs as classify
from experiments.classify.hyper import Hyper
from unlearnjax.report import Column, Spec


@dataclasses.dataclass(frozen=True)
class Config(classify.Config):
  """What `classify.Config` says (but for `forget` and `surrogate`, which do not matter here), and the damage.

  Attributes:
    corruption: `backdoor:FRACTION` or `confusion:A,B:FRACTION`.
    fractions: known shares of the manipulated rows, increasing, in (0, 1].
  """

  forget: str = "known"
  surrogate: str = ""
  corruption: str = "backdoor:0.05"
  fractions: tuple[float, ...] = (0.1, 0.5, 1.0)


def corrupt(config: Config, data: uj.data.Dataset, seed: int) -> tuple[uj.data.Dataset, uj.Examples]:
  """The damaged data set and its manipulated rows.

  Raises:
    ValueError: a corruption that is none of the forms.
  """
  kind, *rest = config.corruption.split(":")
  try:
    if kind == "backdoor":
      (fraction,) = map(float, rest)
      return uj.data.backdoor(data, fraction=fraction, seed=seed)
    if kind == "confusion":
      pair, fraction = rest
      a, b = pair.split(",")
      return uj.data.interclass_confusion(data, a, b, float(fraction), seed=seed)
  except (TypeError, ValueError) as error:
    raise ValueError(f"cannot apply the corruption {config.corruption!r}: {error}") from error
  raise ValueError(f"a corruption must look like backdoor:0.05 or confusion:3,5:0.5, got {config.corruption!r}")


def like(name: str, **changes) -> Config:
  """The configuration of the classification benchmark with a damage."""
  return Config(**{**vars(classify.CONFIGS[name]), "forget": "known", "surrogate": "", **changes})


CONFIGS: Mapping[str, Config] = {
  "digits": like("digits"),
  "digits_confusion": like("digits", corruption="confusion:3,5:0.5"),
  "fashion_mnist": like("fashion_mnist", corruption="backdoor:0.02"),
  "fashion_mnist_confusion": like("fashion_mnist", corruption="confusion:0,6:0.5"),
}

METHODS: Mapping[str, Hyper] = {
  "fine_tune": {"rate": 0.05, "epochs": 5, "batch_size": 64},
  "cf_k": {"rate": 0.05, "k": 1, "epochs": 5, "batch_size": 64},
  "ssd": {"alpha": 5.0, "lam": 1.0, "batch_size": 4},
  "scrub": {"adam": 1e-3, "alpha": 0.1, "temperature": 4.0, "epochs": 5, "max_epochs": 2},
  "bad_teacher": {"adam": 1e-3, "epochs": 4, "batch_size": 64},
}
"""Besides `original` (nothing undone), `oracle` (trained without S_m) and `eu` (trained without S_f). Chosen on the
seeds 100 to 102 of the embedded data, never on seeds that are reported."""


def spec(config: Config) -> Spec:
  """What the report of a configuration is about; accuracies are measured with clean labels."""
  corrected = [
    Column(f"corrected_{100 * f:g}", f"at {100 * f:g} %", "higher", "%", f"The same where {100 * f:g} % are known.")
    for f in config.fractions
  ]
  return Spec(
    title=f"Undoing {config.corruption.replace(':', ' ')} in {config.dataset}",
    question=(
      f"A {config.model} learnt {config.dataset} with manipulated rows, of which only a part is known. Which method "
      "restores the accuracy where the damage shows, and does it keep the rest?"
    ),
    columns=(
      Column("area", "corrected", "higher", "%", "Accuracy on affected test data, mean over the known share."),
      *corrected,
      Column("retained", "rest", "higher", "%", "Accuracy on test data outside the damage, mean over shares."),
      Column("manipulated", "manipulated", "higher", "%", "Accuracy on the manipulated rows, mean over shares."),
      Column("gradient_evaluations", "gradients", "lower", "count", "Examples through a backward pass, all shares."),
      Column("seconds", "seconds", "lower", "s", "Wall time without compilation, all shares."),
    ),
    score="area",
    cost="gradient_evaluations",
    versus_cost=("area", "retained"),
    reference="oracle",
  )
