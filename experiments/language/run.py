"""Forget from a language model, and measure it as TOFU does: against retraining, and under attack.

python -m experiments.language.run --out=runs/language
python -m experiments.language.run --config=tofu --methods=npo,simnpo,grad_diff --out=runs/tofu
python -m experiments.language.run --config=tofu --model=DIR --out=runs/checkpoint   # a Hugging Face directory
"""

from __future__ import annotations

import pathlib

from absl import app, flags

from experiments import table
from experiments.classify import options

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(table)

SHOWN = ("gap", "log10_p", "utility", "prob_forget", "prob_retain", "nll_forget", "relearned", "seconds")


def experiment() -> None:
  """Everything that the flags ask for."""
  from experiments.language import configs, curves
  from experiments.language.setting import Setting
  from unlearnjax.metrics import rouge

  rouge(["a"], ["a"])  # says which extra is missing, before anything is trained
  config = table.chosen_config(configs.CONFIGS, without=("train_size", "test_size"))
  names = table.chosen_methods(("original", "retrain"), tuple(configs.METHODS))
  out = pathlib.Path(FLAGS.out or "runs/language")
  settings = {seed: Setting(config, seed, options.chosen_run(out)) for seed in table.seeds()}
  make_row = lambda name, seed: settings[seed].row(name)
  about = configs.spec(config)
  parts = lambda rows: curves.sections(out, rows)
  table.fill("language", out, config, about, names, configs.METHODS, make_row, shown=SHOWN, sections=parts)


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
