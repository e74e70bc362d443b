"""What benchmarks with their own scores share: the configuration that flags mean, and a table of rows that resumes."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from experiments.classify import options, run

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(run)
FIELDS = ("dataset", "forget", "model", "epochs", "train_size", "test_size")


def chosen_config(configs: Mapping[str, Any], *, without: Sequence[str] = ()) -> Any:
  """The configuration of --config or --dataset (the first by default), with the other flags on top.

  Args:
    configs: dataclasses by name.
    without: flags that mean nothing here.

  Raises:
    ValueError: an unknown configuration, or a flag that means nothing here.
  """
  name = FLAGS.config or FLAGS.dataset or next(iter(configs))
  if name not in configs:
    raise ValueError(f"unknown configuration {name!r}; there are {', '.join(configs)}")
  given = {k: FLAGS[k].value for k in FIELDS if FLAGS[k].value is not None}
  if strange := sorted(set(given) & set(without)):
    raise ValueError(f"--{strange[0]} means nothing to this benchmark")
  return dataclasses.replace(configs[name], **{k: v or None for k, v in given.items()})


def chosen_methods(always: Sequence[str], others: Sequence[str]) -> list[str]:
  """The rows that --methods asks for, those of `always` first.

  Raises:
    ValueError: an unknown or missing name.
  """
  if FLAGS.methods == "all":
    return [*always, *others]
  asked = [name.strip() for name in FLAGS.methods.split(",") if name.strip()]
  if not asked:
    raise ValueError("--methods is empty; say 'all' or names separated by commas")
  for name in asked:
    if name not in (*always, *others):
      raise ValueError(f"unknown method {name!r}; there are {', '.join((*always, *others))}")
  return [*always, *(name for name in others if name in asked)]


def seeds() -> range:
  """The seeds that the flags ask for."""
  return range(FLAGS.first_seed, FLAGS.first_seed + FLAGS.seeds)


def fill(
  bench: str,
  out: pathlib.Path,
  config: Any,
  about: Any,
  names: Sequence[str],
  hypers: Mapping[str, dict[str, Any]],
  make_row: Callable[[str, int], dict[str, Any]],
) -> None:
  """Makes every row that does not stand yet, then `results.json`, the plots and `report.html`.

  Args:
    bench: name of the folder in `experiments`.
    out: output directory.
    config: with `describe()`.
    about: the report's `Spec`.
    names: of the rows, in order.
    hypers: hyperparameters by name; a row that was made with others is made again.
    make_row: (name, seed) -> numbers.

  Raises:
    ValueError: the directory holds another configuration.
  """
  import unlearnjax as uj
  from experiments.classify.hyper import digest
  from experiments.classify.rows import read_row
  from experiments.classify.setting import claim, write_json
  from experiments.classify.summary import finished_rows
  from unlearnjax import report

  claim(out, config.describe())
  table = report.LiveTable([c for c in about.columns if c.name != "gradient_evaluations"], names)
  for name in names:
    hyper = hypers.get(name)
    for seed in seeds():
      path = out / "rows" / f"{name}-{seed}.json"
      row = read_row(path)
      if row is None or digest(row["hyper"]) != digest(hyper):
        row = {"method": name, "seed": seed, "hyper": hyper}
        try:
          row |= make_row(name, seed)
        except uj.NonFiniteError as error:
          if hyper is None:  # nothing can be compared without the original and its references
            raise
          row["error"] = str(error)
        write_json(path, report.to_json(row))
      table.add(row)
  command = report.command_line(sys.argv[1:], f"experiments.{bench}.run")
  rows = finished_rows(out, list(names))
  results = report.write_results(out / "results.json", bench, config.describe(), rows, spec=about, command=command)
  print(f"\n{report.write_report(out, results)}")
