"""Undo damage in training data of which only a part is known (paper 44, arXiv:2402.14015).

python -m experiments.corrective.run --out=runs/corrective
python -m experiments.corrective.run --config=fashion_mnist_confusion --seeds=3 --out=runs/corrective_confusion
"""

from __future__ import annotations

import functools
import pathlib

from absl import app, flags

from experiments import table
from experiments.classify import options

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(table)


def experiment() -> None:
  """Everything that the flags ask for."""
  from experiments.corrective import configs, plot

  config = table.chosen_config(configs.CONFIGS, without=("forget",))
  names = table.chosen_methods(("original", "oracle", "eu"), tuple(configs.METHODS))
  out = pathlib.Path(FLAGS.out or "runs/corrective")
  damages = {seed: Damage(config, seed, options.chosen_run(out, config.model)) for seed in table.seeds()}
  make_row = lambda name, seed: damages[seed].row(name)
  table.fill("corrective", out, config, configs.spec(config), names, configs.METHODS, make_row)
  plot.curve(out, config.fractions)


class Damage:
  """One seed: the damaged data, a request for every known share, the models, and how well they do."""

  def __init__(self, config, seed: int, run):
    import unlearnjax as uj
    from experiments.corrective.configs import corrupt

    data = uj.data.load(config.dataset, train_size=config.train_size, test_size=config.test_size)
    self.config, self.seed, self.run = config, seed, run
    self.data, self.manipulated = corrupt(config, data, seed)
    self.fn = uj.models.make(
      config.model, input_shape=data.input_shape, num_outputs=data.num_classes, **dict(config.model_options)
    )
    ask = functools.partial(uj.data.corrective_request, self.data, self.manipulated, seed=seed)
    self.requests = {fraction: ask(fraction) for fraction in config.fractions}

  def row(self, name: str) -> dict[str, float]:
    """Accuracies in percent, with clean labels, and the cost of all known shares together."""
    import numpy as np

    import unlearnjax as uj

    fractions, row, corrected = self.config.fractions, {}, []
    score = lambda model, source: 100 * np.mean(uj.outputs(model, source)["logits"].argmax(-1) == source.column("y"))
    total = dict.fromkeys(("retained", "manipulated", "gradient_evaluations", "seconds"), 0.0)
    for fraction in fractions:
      model, cost = self.undone(name, fraction)
      extra = self.requests[fraction].extra
      corrected.append(float(score(model, extra["test_affected"])))
      row[f"corrected_{100 * fraction:g}"] = corrected[-1]
      total["retained"] += score(model, extra["test"]) / len(fractions)
      total["manipulated"] += score(model, extra["manipulated"]) / len(fractions)
      for key in ("gradient_evaluations", "seconds"):
        total[key] += cost[key]
    area = uj.metrics.corrected_area(fractions, corrected) if len(fractions) > 1 else corrected[0]
    return row | total | {"area": area}

  def undone(self, name: str, fraction: float):
    """(model, cost) after a method has used what is known."""
    import unlearnjax as uj
    from experiments.classify.hyper import digest
    from experiments.corrective.configs import METHODS

    request, known = self.requests[fraction], f"known{100 * fraction:g}"
    if name == "original":
      return self.original
    if name == "oracle":
      return self.oracle
    if name == "eu":
      return self.trained(request.retain, f"eu_{known}")
    run = self.run.apart(f"seed{self.seed}", f"{digest(METHODS[name])}_{known}")
    method = method_of(name, self.config, self.data.value_range)
    result = uj.forget(method, self.original[0], request, key=self.key(name), run=run)
    return result.model, result.cost

  @functools.cached_property
  def original(self):
    return self.trained(self.data.train, "original")

  @functools.cached_property
  def oracle(self):
    return self.trained(self.data.train.without(self.manipulated), "oracle")

  def trained(self, source, name: str):
    """(model, cost) of training from scratch; in the same directory the checkpoint is read."""
    import unlearnjax as uj

    run = self.run.apart(f"seed{self.seed}", name)
    return uj.train(self.fn, source, self.config.recipe, key=self.key("model"), run=run), run.cost.to_dict()

  def key(self, name: str):
    import jax

    from unlearnjax.core.tree import fold_name

    return fold_name(jax.random.key(self.seed), name)


@functools.cache
def method_of(name: str, config, value_range):
  """A method value, made once: its programs are shared by all seeds and shares."""
  from experiments.classify import hyper
  from experiments.corrective.configs import METHODS

  return hyper.method_of(name, config, METHODS[name], value_range)


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
