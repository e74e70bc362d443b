"""Serve one stream of requests with several systems, and compare accuracy, cost and guarantees.

python -m experiments.serve.run --out=runs/serve
python -m unlearnjax ledger show runs/serve/services/sisa-0
"""

from __future__ import annotations

import functools
import pathlib

from absl import app, flags

from experiments import table
from experiments.classify import options

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(table)

SHOWN = ("accuracy", "mean_accuracy", "lowest", "forgotten", "attack", "exact", "cost_percent", "seconds")


def experiment() -> None:
  """Everything that the flags ask for."""
  from experiments.serve import configs, sections

  config = table.chosen_config(configs.CONFIGS, without=("forget",))
  names = table.chosen_methods(("from_scratch",), tuple(configs.METHODS))
  out = pathlib.Path(FLAGS.out or "runs/serve")
  streams = {seed: Stream(config, seed, out) for seed in table.seeds()}
  make_row = lambda name, seed: streams[seed].row(name)
  table.fill(
    "serve",
    out,
    config,
    configs.spec(config),
    names,
    configs.METHODS,
    make_row,
    shown=SHOWN,
    sections=functools.partial(sections.of, out),
  )


class Stream:
  """One seed: its requests, the model that all systems start from, and how each of them does."""

  def __init__(self, config, seed: int, out: pathlib.Path):
    import unlearnjax as uj
    from experiments.serve.configs import requests

    self.config, self.seed, self.out = config, seed, out
    self.data = uj.data.load(config.dataset, train_size=config.train_size, test_size=config.test_size)
    self.public, self.requests = requests(config, self.data, seed)
    self.fn = uj.models.make(
      config.model,
      input_shape=self.data.input_shape,
      num_outputs=self.data.num_classes,
      **dict(config.model_options),
    )

  def row(self, name: str) -> dict:
    """Figures of one system over the whole stream, and every receipt in short."""
    import numpy as np

    from unlearnjax.serving import accuracies

    receipts, service = self.served(name)
    gold = receipts if name == "from_scratch" else self.served("from_scratch")[0]
    held = service.holdings
    end = accuracies(service.model, _everything(held, {"test": self.data.test}))
    deletions = [r for r in receipts if r.kind == "forget" and r.outcome == "done"]
    spent = lambda found, kind: sum(r.cost["gradient_evaluations"] for r in found if r.kind == kind)
    tests = [r.audit["test"] for r in receipts if "test" in r.audit]
    return {
      "accuracy": end["test"],
      "mean_accuracy": float(np.mean(tests)),
      "lowest": min(r.audit["test"] for r in deletions),
      "forgotten": end["forget"],
      "attack": end.get("loss_attack"),
      "exact": 100 * float(np.mean([r.guarantee["kind"] == "exact" for r in deletions])),
      "cost_percent": 100 * spent(receipts, "forget") / spent(gold, "forget"),
      "learn_percent": 100 * spent(receipts, "learn") / spent(gold, "learn"),
      "per_deletion": spent(receipts, "forget") / len(deletions),
      "seconds": float(np.mean([r.cost["seconds"] for r in deletions])),
      "gradient_evaluations": spent(receipts, "forget"),
      "params": receipts[-1].params_after[:16],
      "receipts": [_short(r) for r in receipts],
    }

  @functools.cache  # noqa: B019 - a stream lives as long as the process
  def served(self, name: str):
    """(receipts, service) at the end; in the same directory it goes on where it stopped."""
    import jax

    import unlearnjax as uj
    from experiments.serve.configs import method_of
    from unlearnjax.core.tree import fold_name

    method = method_of(name, self.config, self.data.num_classes)
    key = fold_name(jax.random.key(self.seed), name)
    run = options.chosen_run(self.out / "services" / f"{name}-{self.seed}")
    extra = {"test": self.data.test}
    service = uj.serve(method, self.start, self.requests, run, key=key, batch=self.config.batch, extra=extra)
    return sorted(service), service

  @functools.cached_property
  def start(self):
    """The model that knows the public part."""
    import jax

    import unlearnjax as uj

    run = options.chosen_run(self.out).apart(f"seed{self.seed}", "public")
    return uj.train(self.fn, self.public, self.config.recipe(), key=jax.random.key(self.seed), run=run)


def _everything(held, extra):
  from unlearnjax.core import ForgetRequest

  return ForgetRequest(held.select(held.gone), held.known(), extra=extra)


def _short(receipt) -> dict:
  """What the report shows of a receipt."""
  return {
    "request": receipt.request,
    "kind": receipt.kind,
    "reason": receipt.reason,
    "outcome": receipt.outcome,
    "affected": receipt.affected,
    "guarantee": receipt.guarantee and receipt.guarantee["kind"],
    "test": receipt.audit.get("test"),
    "gradient_evaluations": receipt.cost["gradient_evaluations"],
    "seconds": receipt.cost["seconds"],
    "hash": receipt.hash,
  }


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
