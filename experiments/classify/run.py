"""Forget from a classifier and audit it against retraining.

python -m experiments.classify.run --out=runs/quickstart
python -m experiments.classify.run --config=cifar10 --forget=random:0.1 --seeds=3 --out=runs/cifar10_random
"""

from __future__ import annotations

import functools
import pathlib

from absl import app, flags

from experiments.classify import options

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(options)
flags.DEFINE_integer("seeds", 1, "How many models, requests and runs of every method.", lower_bound=1)
flags.DEFINE_string("title", None, "Head of the table; by default what is forgotten of which data set.")
flags.DEFINE_integer("first_seed", 0, "Seeds are first_seed, first_seed + 1, ...", lower_bound=0)


def experiment() -> None:
  """Everything that the flags ask for."""
  from experiments.classify import hyper, summary
  from experiments.classify.rows import row_of
  from experiments.classify.setting import Setting, claim

  config = options.chosen_config()
  methods = hyper.chosen("all" if FLAGS.methods is None else FLAGS.methods, config)
  out = pathlib.Path(FLAGS.out or "runs/classify")
  seeds = tuple(range(FLAGS.first_seed, FLAGS.first_seed + FLAGS.seeds))
  setting = Setting(config, out, seeds, options.chosen_run(out, config.model))
  setting.validate()  # data, requests and model are checked before anything is written
  claim(out, config.describe())
  names = ["original", "retrain", *methods]
  table = summary.live_table(names)
  write = functools.partial(summary.write, out, config, names, title=FLAGS.title)
  try:
    for name in names:
      for seed in seeds:
        table.add(row_of(setting, name, methods.get(name), seed))
      write(page=False)
  except KeyboardInterrupt:
    write(page=True)
    raise
  write(page=True)
  print(f"\n{out / 'report.html'}")


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
