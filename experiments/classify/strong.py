"""Attacks that need many models: what is left of a random forget set, judged as strongly as is known.

python -m experiments.classify.strong --out=runs/strong
python -m experiments.classify.strong --methods=salun,ssd --models=128 --seeds=3 --out=runs/strong3

Trains N models on everything and twice N without the forget set, all at once where `vmap` pays, and lets every method
unlearn the first N. Scores compare them with N retrained models, example by example; the row `retrain` is the other N,
so it shows what each score is worth for a perfect method. Every seed is a forget set with models of its own.
"""

from __future__ import annotations

import dataclasses
import pathlib

from absl import app, flags

from experiments import table
from experiments.classify import options

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(table)
flags.DEFINE_integer(
  "models", 64, "Models of each kind; 16 at least for fair scores, 512 in the challenge.", lower_bound=4
)
METHODS = "fine_tune,neg_grad_plus,random_label,salun,l1_sparse,scrub,bad_teacher,ssd"  # if --methods does not say

_COLUMNS = (  # name, label, better, unit, definition
  ("final", "final", "higher", "", "F times RA and TA over those of retraining (NeurIPS 2023 challenge)."),
  ("ulira", "U-LiRA", "reference", "%", "Accuracy of telling unlearned from retrained models, example by example."),
  ("ulira_auc", "U-LiRA AUC", "reference", "%", "Area under the curve of the same attack over all examples."),
  ("lira_auc", "LiRA AUC", "reference", "%", "The same by an attacker who knows originals, but not the method."),
  ("epsilon", "epsilon", "lower", "", "Median over examples of the epsilon that attacks prove; few models cap it."),
  ("forgetting", "F", "higher", "", "Forgetting score: mean over examples of 2^-floor(2 epsilon)."),
  ("klom_forget", "KLOM F", "lower", "", "95th percentile of the divergence of margins from retraining, forget set."),
  ("klom_retain", "KLOM R", "lower", "", "The same on the retain set."),
  ("klom_test", "KLOM T", "lower", "", "The same on the test set."),
  ("relearn", "relearn", "reference", "count", "Steps of training until the forget loss is back at the original's."),
  ("AIN", "AIN", "reference", "", "Anamnesis index: relearn time over that of retraining."),
  ("UA", "UA", "reference", "%", "Share of the forget set that is misclassified."),
  ("RA", "RA", "reference", "%", "Accuracy on the retain set."),
  ("TA", "TA", "reference", "%", "Test accuracy."),
  ("cost_percent", "cost", "lower", "%", "Gradient evaluations of one model in percent of those of retraining."),
  ("seconds", "seconds", "lower", "s", "Wall time of one model without compilation."),
)
_SHOWN = ("final", "ulira", "lira_auc", "epsilon", "klom_forget", "AIN", "UA", "TA", "cost_percent")


def spec(config):
  """What the report is about."""
  from experiments.classify.summary import BUDGET
  from unlearnjax.report import Column, Spec

  what = config.forget.replace(":", " ")
  return Spec(
    title=f"Strong attacks after forgetting {what} of {config.dataset}",
    question=(
      f"{config.models} models were trained on {config.dataset}; {what} must be forgotten. After which method are "
      f"unlearned and retrained models hardest to tell apart, for attackers who know {config.models} of each?"
    ),
    columns=tuple(Column(*column) for column in _COLUMNS),
    score="final",
    cost="cost_percent",
    budget=BUDGET,
    versus_cost=("final", "ulira"),
  )


def experiment() -> None:
  """Everything that the flags ask for."""
  from experiments.classify.hyper import chosen
  from experiments.classify.many import Many, ManyConfig, score

  base = options.chosen_config(forget="random:0.1")
  config = ManyConfig(**{f.name: getattr(base, f.name) for f in dataclasses.fields(base)}, models=FLAGS.models)
  methods = chosen(METHODS if FLAGS.methods is None else FLAGS.methods, config)
  out = pathlib.Path(FLAGS.out or "runs/strong")
  models = lambda seed: tuple(range(seed * config.models, (seed + 1) * config.models))
  many = {seed: Many(config, out, models(seed), options.chosen_run(out, config.model)) for seed in table.seeds()}
  for one in many.values():
    one.validate()
  make_row = lambda name, seed: score(many[seed], name, methods.get(name))
  names = ["original", "retrain", *methods]
  table.fill(
    "classify", out, config, spec(config), names, methods, make_row, module="experiments.classify.strong", shown=_SHOWN
  )


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
