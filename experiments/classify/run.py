"""Forget from a classifier and audit it against retraining.

python -m experiments.classify.run --out=runs/quickstart
python -m experiments.classify.run --config=cifar10 --forget=random:0.1 --seeds=3 --out=runs/cifar10_random
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

from absl import app, flags, logging

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "runs/classify", "Output directory; the same command in it resumes.")
flags.DEFINE_string("config", None, "A configuration of configs.py; by default that of --dataset.")
flags.DEFINE_string("dataset", None, "Data set: digits, mnist, fashion_mnist, cifar10, cifar100, olivetti.")
flags.DEFINE_string("forget", None, "What to forget: class:3, class:1,2, random:0.1, ids:FILE.")
flags.DEFINE_string("model", None, "Architecture: mlp, convnet, resnet8, resnet18, vit, ...")
flags.DEFINE_string("methods", "all", "'all', or names separated by commas.")
flags.DEFINE_integer("seeds", 1, "How many models, requests and runs of every method.", lower_bound=1)
flags.DEFINE_integer("epochs", None, "Epochs of the original and of the oracle.", lower_bound=1)
flags.DEFINE_integer("train_size", None, "Class-balanced subset of the training data; 0 takes all.", lower_bound=0)
flags.DEFINE_integer("test_size", None, "Class-balanced subset of the test data; 0 takes all.", lower_bound=0)
flags.DEFINE_integer("first_seed", 0, "Seeds are first_seed, first_seed + 1, ...", lower_bound=0)
flags.DEFINE_integer("checkpoint_every", None, "Steps between checkpoints; by default one a minute.", lower_bound=1)
flags.DEFINE_bool("progress", None, "Progress bars; by default where standard error is a terminal.")


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  try:
    experiment()
  except (ValueError, FileNotFoundError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def experiment() -> None:
  """Everything that the flags ask for."""
  import unlearnjax as uj
  from experiments.classify import configs, hyper, summary
  from experiments.classify.rows import row_of
  from experiments.classify.setting import Setting, claim

  config = chosen_config(configs)
  methods = hyper.chosen(FLAGS.methods, config)
  out, seeds = pathlib.Path(FLAGS.out), tuple(range(FLAGS.first_seed, FLAGS.first_seed + FLAGS.seeds))
  progress = sys.stderr.isatty() if FLAGS.progress is None else FLAGS.progress
  run = uj.Run(out=out, checkpoint_every=FLAGS.checkpoint_every, progress=progress, keep=1)
  setting = Setting(config, out, seeds, run)
  for seed in seeds:
    setting.request(seed)  # data and request are checked before anything is written
  claim(out, config)
  names = ["original", "retrain", *methods]
  table = summary.live_table(names)
  try:
    for name in names:
      for seed in seeds:
        table.add(row_of(setting, name, methods.get(name), seed))
      summary.write(out, config, names, page=False)
  finally:
    summary.write(out, config, names, page=True)
  print(f"\n{out / 'report.html'}")


def chosen_config(configs):
  """The configuration of --config or --dataset, with the flags on top."""
  name = FLAGS.config or FLAGS.dataset or "digits"
  if FLAGS.config and name not in configs.CONFIGS:
    raise ValueError(f"unknown configuration {name!r}; there are {', '.join(configs.CONFIGS)}")
  base = configs.CONFIGS.get(name) or dataclasses.replace(configs.Config(), dataset=name)
  given = {k: FLAGS[k].value for k in ("dataset", "forget", "model", "epochs", "train_size", "test_size")}
  given = {k: v or None for k, v in given.items() if v is not None}
  return dataclasses.replace(base, **given)


if __name__ == "__main__":
  app.run(main)
