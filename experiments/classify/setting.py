"""What an experiment is about, before any method runs: data, request, original model, oracle."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np

import unlearnjax as uj
from experiments import claims
from experiments.classify import hyper
from experiments.classify.configs import Config
from unlearnjax.auditing import Predictions, predict
from unlearnjax.core.tree import fold_name
from unlearnjax.report import write_text

SELECTED = ("worst", "easy")
"""Requests that a model selects: `worst:0.1`, `easy:0.1`."""


@dataclasses.dataclass(eq=False)
class Setting:
  """One data set, one request a seed, and the models that every method is compared with.

  Attributes:
    config: what to do.
    out: output directory.
    seeds: one original, one oracle and one request each.
    run: shared policy of checkpoints and progress.
    costs: what the original and the oracle of each seed cost, once they are trained.
  """

  config: Config
  out: pathlib.Path
  seeds: tuple[int, ...]
  run: uj.Run
  costs: dict[tuple[str, int], dict[str, Any]] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def data(self):
    """The data set, corrupted first where the request is a corrective one."""
    data = uj.data.load(self.config.dataset, train_size=self.config.train_size, test_size=self.config.test_size)
    if data.task != "classification":
      raise ValueError(f"this benchmark needs a classification data set; {data.name!r} is for {data.task}")
    return data

  @functools.cached_property
  def fn(self) -> uj.ModelFn:
    options = dict(self.config.model_options)
    width = self.data.num_classes
    return uj.models.make(self.config.model, input_shape=self.data.input_shape, num_outputs=width, **options)

  def validate(self) -> None:
    """Raises ValueError for data, a model or a request that cannot work; nothing is trained or written."""
    _ = self.fn
    kind, _, size = self.config.forget.partition(":")
    if kind in SELECTED:  # as large as a random request, but chosen by a model that is yet to train
      uj.data.parse_forget(self.data, f"random:{size}")
      return
    for seed in self.seeds:
      self.request(seed)

  @functools.cache  # noqa: B019 - a setting lives as long as the process
  def request(self, seed: int) -> uj.ForgetRequest:
    """The forget request of a seed: random sets differ by seed, classes do not, the hardest and easiest sets are
    selected with the original of the seed."""
    kind, _, size = self.config.forget.partition(":")
    if kind in SELECTED:
      request = uj.data.worst_case(
        self.originals[seed], self.data, float(size), key=self.key(seed, kind), easiest=kind == "easy",
        batch_size=self.config.batch_size, run=self.run.apart(f"seed{seed}", kind),
      )  # fmt: skip
    else:
      request = uj.data.parse_forget(self.data, self.config.forget, seed=seed)
    if self.config.surrogate:
      size = min(max(4 * len(request.forget), 2000), 5000)
      extra = uj.data.surrogate(self.data, self.config.surrogate, size, seed=seed)
      request = request._replace(extra={**request.extra, "surrogate": extra})
    return request

  @functools.cache  # noqa: B019
  def method(self, name: str, settings: str) -> uj.Method:
    """A method value, made once for all seeds; `settings` is the digest of its hyperparameters."""
    found = hyper.hyper_of(name, self.config)
    assert hyper.digest(found) == settings
    return hyper.method_of(name, self.config, found, self.data.value_range)

  def key(self, seed: int, name: str) -> jax.Array:
    """The key of one part of one seed."""
    return fold_name(jax.random.key(seed), name)

  @functools.cached_property
  def originals(self) -> dict[int, uj.Model]:
    return self._models("original", [self.data.train])

  @functools.cached_property
  def oracles(self) -> dict[int, uj.Model]:
    return self._models("retrain", [self.request(s).retain for s in self.seeds])

  def _models(self, name: str, sources: list[Any]) -> dict[int, uj.Model]:
    """One model a seed: all at once where that is faster, otherwise one after another."""
    keys = [self.key(s, name) for s in self.seeds]
    recipe = self.config.recipe
    if len(self.seeds) > 1 and self._at_once():
      run = self.run.apart(f"seeds{self.seeds[0]}-{self.seeds[-1]}", name)
      models = uj.train_many(self.fn, sources, recipe, keys=jax.numpy.stack(keys), run=run)
      share = {k: v / len(self.seeds) for k, v in run.cost.to_dict().items()}
      self.costs |= {(name, seed): share for seed in self.seeds}
      return dict(zip(self.seeds, models))
    models = {}
    for i, seed in enumerate(self.seeds):
      run = self.run.apart(f"seed{seed}", name)
      models[seed] = uj.train(self.fn, sources[i % len(sources)], recipe, key=keys[i], run=run)
      self.costs[name, seed] = run.cost.to_dict()
    return models

  def _at_once(self) -> bool:
    """Whether `vmap` over seeds pays: convolutions become grouped ones, slow on a CPU; on a device memory must do."""
    if jax.default_backend() == "cpu":
      return self.config.model == "mlp"
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    weights = jax.tree.leaves(jax.eval_shape(self.fn.init, jax.random.key(0)).params)
    activations = 64 * self.config.batch_size * int(np.prod(self.data.input_shape)) * 4
    needed = len(self.seeds) * (4 * sum(w.size * w.dtype.itemsize for w in weights) + activations)
    return limit is None or needed < limit / 2

  def cost(self, name: str, seed: int) -> dict[str, Any]:
    """What training the original or the oracle of a seed cost."""
    _ = self.originals if name == "original" else self.oracles
    return self.costs[name, seed]

  @functools.cache  # noqa: B019
  def said(self, name: str, seed: int) -> Predictions:
    """Predictions of the original, the oracle or a random model on the sets of a request."""
    if name == "stranger":
      model = self.fn.init(self.key(seed, name))
    else:
      model = (self.originals if name == "original" else self.oracles)[seed]
    return predict(model, self.request(seed))


def claim(out: pathlib.Path, described: dict[str, Any]) -> None:
  """Marks a directory as holding one configuration; refuses one that holds another, or that a job is writing in.

  The directory is this process's until `claims.release`, or its end.

  Args:
    out: output directory; it is made where it does not exist.
    described: a JSON value that is equal exactly for equal configurations.

  Raises:
    ValueError: it is a file, or belongs to another configuration; nothing in it is touched.
    unlearnjax.lock.Busy: another process is writing in it.
  """
  path = out / "config.json"
  if out.exists() and not out.is_dir():
    raise ValueError(f"--out must be a directory, and {out} is a file")
  if path.exists():
    try:
      found = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
      raise ValueError(f"{path} is damaged ({error}): choose another --out") from None
    differ = sorted(k for k in found.keys() | described.keys() if found.get(k) != described.get(k))
    if differ:
      lines = ", ".join(f"{k}: {found.get(k)} there, {described.get(k)} now" for k in differ)
      raise ValueError(f"{out} holds results of another configuration ({lines}): choose another --out")
    claims.hold(out)
    return
  if (out / "rows").exists():
    raise ValueError(f"{out} holds results, but no config.json that says of what: choose another --out")
  claims.hold(out)
  write_json(path, described)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file whole or not at all."""
  write_text(path, json.dumps(value, indent=1))


def params_digest(params: Any) -> str:
  """A short hash of all weights: equal hashes are equal bits."""
  import hashlib

  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
  return digest.hexdigest()[:16]
