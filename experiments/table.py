"""What benchmarks with their own scores share: the configuration that flags mean, and a table of rows that resumes."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
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
  if FLAGS.methods in (None, "all"):
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
  *,
  module: str | None = None,
  shown: Sequence[str] | None = None,
  sections: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, str]] | None = None,
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
    module: what the command line names; `experiments.<bench>.run` by default.
    shown: columns of the table on the console.
    sections: (rows) -> further parts of the report, HTML by title.

  Raises:
    ValueError: the directory holds another configuration.
  """
  from experiments.classify.rows import kept_row
  from experiments.classify.setting import claim
  from experiments.classify.summary import finished_rows, save
  from unlearnjax import report

  claim(out, config.describe())
  columns = [c for c in about.columns if (c.name in shown if shown else c.name != "gradient_evaluations")]
  table = report.LiveTable(columns, names)

  def write(histograms):
    rows = finished_rows(out, list(names))
    parts = sections(rows) if sections is not None and histograms is not None else None
    save(out, bench, config.describe(), rows, about, histograms, module=module, sections=parts)

  for name in names:
    for seed in seeds():
      table.add(kept_row(out, name, hypers.get(name), seed, functools.partial(make_row, name, seed)))
    write(None)
  write({})
  print(f"\n{out / 'report.html'}")
