"""Learn a stream of tasks with every method, and see what is left of the first ones.

python -m experiments.continual.run --out=runs/continual
python -m experiments.continual.run --config=mnist_rotated --methods=fine_tune,joint,gem,agem --out=runs/rotated
python -m experiments.continual.run --dataset=fsdd --out=runs/speakers
"""

from __future__ import annotations

import dataclasses
import pathlib

from absl import app, flags

from experiments import table
from experiments.classify import options

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(table)
flags.DEFINE_enum(
  "scenario",
  None,
  ("class", "task", "domain", "permuted", "rotated", "instances", "blurry", "group", "overlap"),
  "What tasks differ in.",
)
flags.DEFINE_integer("tasks", None, "How many tasks; 5 by default.", lower_bound=2)


def experiment() -> None:
  """Everything that the flags ask for."""
  from experiments.continual import configs, sections
  from experiments.continual.setting import Setting

  config = table.chosen_config(configs.CONFIGS, without=("forget",))
  given = {k: FLAGS[k].value for k in ("scenario", "tasks") if FLAGS[k].value is not None}
  config = dataclasses.replace(config, **given)
  names = table.chosen_methods((), tuple(configs.METHODS))
  if FLAGS.methods in (None, "all"):
    names = [name for name in names if name not in configs.LEFT_OUT]
  out = pathlib.Path(FLAGS.out or "runs/continual")
  settings = {seed: Setting(config, seed, options.chosen_run(out)) for seed in table.seeds()}
  hypers = {name: configs.hyper_of(name, config) for name in names}
  table.fill(
    "continual",
    out,
    config,
    configs.spec(config),
    names,
    hypers,
    lambda name, seed: settings[seed].row(name, hypers[name]),
    shown=configs.SHOWN,
    sections=lambda rows: sections.of(out, rows),
  )


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
