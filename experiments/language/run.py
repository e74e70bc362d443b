"""Forget from a language model, and measure it as TOFU does: against retraining, and under attack.

python -m experiments.language.run --out=runs/language
python -m experiments.language.run --config=tofu --methods=npo,simnpo,grad_diff --out=runs/tofu
python -m experiments.language.run --config=tofu --model=DIR --out=runs/checkpoint   # a Hugging Face directory
python -m experiments.language.run --config=contracts --out=runs/contracts   # or knowundo, pistol1, pistol2, books
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
  from experiments.language import configs, corpora, curves
  from experiments.language.setting import Setting
  from unlearnjax.metrics import rouge

  rouge(["a"], ["a"])  # says which extra is missing, before anything is trained
  config = table.chosen_config({**configs.CONFIGS, **corpora.all_configs()}, without=("train_size", "test_size"))
  people = corpora.Kind(configs.CONFIGS, Setting, configs.spec, SHOWN)
  kind = corpora.kind_of(config) or people
  names = [name for name in configs.METHODS if name not in kind.without]
  names = table.chosen_methods(("original", "retrain"), tuple(names))
  out = pathlib.Path(FLAGS.out or "runs/language")
  settings = {seed: kind.setting(config, seed, options.chosen_run(out)) for seed in table.seeds()}
  make_row = lambda name, seed: settings[seed].row(name)
  parts = (lambda rows: curves.sections(out, rows)) if kind is people else None
  about = kind.spec(config)
  table.fill("language", out, config, about, names, configs.METHODS, make_row, shown=kind.shown, sections=parts)


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
