"""Forget from a regressor (paper 28, arXiv:2210.08196).

python -m experiments.regression.run --out=runs/regression
python -m experiments.regression.run --dataset=california_housing --forget=random:0.1 --seeds=3 --out=runs/housing
"""

from __future__ import annotations

import functools
import math
import pathlib

from absl import app, flags

from experiments import table
from experiments.classify import options

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(table)


def experiment() -> None:
  """Everything that the flags ask for."""
  from experiments.regression import configs

  config = table.chosen_config(configs.CONFIGS)
  names = table.chosen_methods(("original", "retrain"), tuple(configs.METHODS))
  out = pathlib.Path(FLAGS.out or "runs/regression")
  settings = {seed: Setting(config, seed, options.chosen_run(out)) for seed in table.seeds()}
  make_row = lambda name, seed: settings[seed].row(name)
  table.fill("regression", out, config, configs.spec(config), names, configs.METHODS, make_row)


class Setting:
  """One seed: the request, the original, the oracle, and how close a model comes to it."""

  def __init__(self, config, seed: int, run):
    import unlearnjax as uj

    self.config, self.seed, self.run = config, seed, run
    self.data = uj.data.load(config.dataset, train_size=config.train_size, test_size=config.test_size)
    if self.data.task != "regression":
      raise ValueError(f"this benchmark needs a regression data set; {self.data.name!r} is for {self.data.task}")
    self.request = uj.data.parse_forget(self.data, config.forget, seed=seed)
    self.fn = uj.models.make(
      config.model, input_shape=self.data.input_shape, num_outputs=1, **dict(config.model_options)
    )

  def row(self, name: str) -> dict[str, float | None]:
    """Errors, the distance to the oracle, the attack, the relearn index and the cost."""
    from unlearnjax import attacks, metrics

    model, cost = self.forgotten(name)
    gold, gold_cost = self.oracle
    sets = {"forget": self.request.forget, "retain": self.request.retain, "test": self.request.extra["test"]}
    errors = {k: abs(self.predicted(model, source) - source.column("y")) for k, source in sets.items()}
    distance = metrics.wasserstein1(*(self.predicted(m, self.request.forget) for m in (model, gold)))
    steps, gold_steps = self.relearn_steps(model), self.relearn_steps(gold)
    comparable = 0 < gold_steps < math.inf and steps < math.inf
    return {
      "w1": float(distance),
      **{f"mae_{k}": float(e.mean()) for k, e in errors.items()},
      "MIA": 100 * attacks.regression_mia(errors["retain"], errors["test"], errors["forget"]),
      "AIN": metrics.anamnesis_index(steps, gold_steps) if comparable else None,
      "relearn_steps": steps,
      **cost,
      "cost_percent": 100 * cost["gradient_evaluations"] / gold_cost["gradient_evaluations"],
    }

  def forgotten(self, name: str):
    """(model, cost) after a method."""
    import unlearnjax as uj
    from experiments.classify.hyper import digest
    from experiments.regression.configs import METHODS, method_of

    if name == "original":
      return self.original
    if name == "retrain":
      return self.oracle
    run = self.run.apart(f"seed{self.seed}", digest(METHODS[name]))
    result = uj.forget(method_of(name, self.config), self.original[0], self.request, key=self.key(name), run=run)
    return result.model, result.cost

  def relearn_steps(self, model) -> float:
    """Steps of Adam on all data until the error on forgotten values is within 5 % of the original's."""
    import unlearnjax as uj
    from unlearnjax import metrics

    watched = self.request.extra.get("test_forget") or self.request.forget
    goal = 1.05 * float(abs(self.predicted(self.original[0], watched) - watched.column("y")).mean())
    step = relearner(self.fn, self.config.relearn_rate)
    state = step.init(uj.UnlearnState.create(model.params, rng=self.key("relearn"), model_state=model.state))
    sizes = {"train": self.config.batch_size, "watched": len(watched)}
    plan = uj.zip_roles(
      anchor="train", batch_size=sizes, epochs=self.config.relearn_epochs, train=self.data.train, watched=watched
    )
    return metrics.steps_to(uj.fit(step, state, plan)[1]["watched/loss"], goal)

  def predicted(self, model, source):
    import unlearnjax as uj

    return uj.outputs(model, source)["logits"][:, 0]

  @functools.cached_property
  def original(self):
    return self.trained(self.data.train, "original")

  @functools.cached_property
  def oracle(self):
    return self.trained(self.request.retain, "retrain")

  def trained(self, source, name: str):
    """(model, cost) of training from scratch; in the same directory the checkpoint is read."""
    import unlearnjax as uj

    run = self.run.apart(f"seed{self.seed}", name)
    return uj.train(self.fn, source, self.config.recipe, key=self.key(name), run=run), run.cost.to_dict()

  def key(self, name: str):
    import jax

    from unlearnjax.core.tree import fold_name

    return fold_name(jax.random.key(self.seed), name)


@functools.cache
def relearner(fn, rate: float):
  """Adam on the role "train"; the error on "watched" is only measured, before every step."""
  import optax

  import unlearnjax as uj
  from experiments.regression.configs import absolute_error

  roles = {"train": absolute_error(fn, train=False), "watched": absolute_error(fn, train=False)}
  return uj.descend(roles, optax.adam(rate), combine=uj.combine.weighted(train=1.0, watched=0.0))


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
