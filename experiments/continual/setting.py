"""One seed of the continual benchmark: the stream, the untrained model, and what each method makes of them."""

from __future__ import annotations

import functools
import inspect
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import unlearnjax as uj
from experiments.classify.hyper import digest
from experiments.classify.setting import params_digest
from experiments.continual import overlap
from experiments.continual.configs import Config, Hyper
from unlearnjax import metrics
from unlearnjax.core.tree import all_finite, fold_name
from unlearnjax.data.streams import KNOWN_TASK

FACTORY = {"fine_tune": "sequential", "single_task": "sequential"}
"""Rows whose factory has another name."""
PLAIN = "fine_tune"
ALONE = "single_task"
HEAD = r"(^|/)head/"
SHARED = ("domain", "permuted", "rotated", "instances", "blurry", "group")
"""Scenarios in which tasks may share their outputs, so that the last layer must be protected too."""
KEPT_ELSEWHERE = ("watch", "task", "seen", "old")
CURVE = 80


class Setting:
  """A stream and a model; both are made before anything is written.

  Args:
    config: what to do.
    seed: draws the order of the classes or the permutations, the weights and the order of examples.
    run: policy of checkpoints and progress.

  Raises:
    ValueError: data, tasks or a model that do not fit together.
  """

  def __init__(self, config: Config, seed: int, run: uj.Run):
    self.config, self.seed, self.run = config, seed, run
    data = uj.data.load(config.dataset, train_size=config.train_size, test_size=config.test_size)
    options = {"degrees": config.degrees, "known_task": config.known_task}
    self.stream = uj.data.make_stream(data, config.scenario, tasks=config.tasks, seed=seed, **options)
    fn = uj.models.make(
      config.model,
      input_shape=self.stream.input_shape,
      num_outputs=self.stream.num_outputs,
      **dict(config.model_options),
    )
    self.fn = self.stream.head(fn)

  @functools.cached_property
  def model(self) -> uj.Model:
    """The untrained model."""
    return self.fn.init(fold_name(jax.random.key(self.seed), "weights"))

  @functools.cached_property
  def untrained(self) -> np.ndarray:
    """Accuracy of the untrained model on every task."""
    return metrics.accuracy_matrix([self.model], self.stream)[0]

  @functools.cached_property
  def watched(self) -> dict[str, Any]:
    """Test examples of every task as one role batch [tasks, n, ...]."""
    return self._sample(self.config.watch_size)

  @functools.cached_property
  def _looked_at(self) -> dict[str, Any]:
    """Test examples of every task for the tangent kernels."""
    return self._sample(overlap.examples_of(self.stream.num_outputs))

  def _said(self, model: uj.Model, task: int) -> np.ndarray:
    """What a model says of a task's examples, whether it has seen their classes or not."""
    inputs = jax.tree.map(lambda x: x[task], self._looked_at["inputs"])
    return np.asarray(_logits(self.fn, model.params, model.state, inputs))

  def _sample(self, size: int) -> dict[str, Any]:
    size = min(size, *(len(task.test) for task in self.stream))
    rng = np.random.default_rng([self.seed, 7])
    parts = [uj.role_batch(task.test[np.sort(rng.permutation(len(task.test))[:size])]) for task in self.stream]
    return jax.tree.map(lambda *x: jnp.stack(x), *parts)

  def row(self, name: str, hyper: Hyper) -> dict[str, Any]:
    """The matrix, the curve, what is read off them in percent, and the cost.

    Raises:
      ValueError: the method cannot learn this stream, or left weights that are not finite.
      NonFiniteError: it diverged.
    """
    if name == ALONE:
      return self._alone(hyper)
    method = method_of(name, hyper, self.config)
    verbs = uj.core.bound(method, self.fn)
    key, histories = fold_name(jax.random.key(self.seed), "learn"), {}
    run = self.run.apart(f"seed{self.seed}", name, digest(hyper))
    run.on_history = lambda label, history: histories.update({label: history})
    state, refs = verbs.init(self.model, key)
    start = state, {**refs, "watch": self.watched} if self.config.watch_every else refs
    rows, curves = [], []
    paired = self.config.pairs and name == PLAIN and overlap.examples_of(self.stream.num_outputs) > 0  # plain steps
    losses, arriving = [], [self._said(self.model, 0)] if paired else []
    for task, found in zip(self.stream, uj.learn(method, self.model, self.stream, key=key, run=run, start=start)):
      if not all_finite(found.model.params):
        raise ValueError(f"{name} left weights that are not finite after task {task.index}")
      rows.append(metrics.accuracy_matrix([found], self.stream)[0])
      if paired:
        losses.append(overlap.losses_of(found.model, [task.test for task in self.stream]))
        arriving.append(self._said(found.model, min(task.index + 1, len(self.stream) - 1)))
      curves += [(task.index, history) for history in histories.values() if "watch/0" in history]
      histories.clear()
      last = found
    pairs = {}
    if paired:
      see = lambda: overlap.foreseen(self.model, self._looked_at, np.stack(arriving[:-1]))
      before = jax.tree.map(np.asarray, run.scope("pairs").once("kernels", see))
      pairs = {"pairs": overlap.summary(before, overlap.measured(np.array(rows), np.array(losses)))}
    return {
      **self._scores(np.array(rows), curves),
      **pairs,
      **run.cost.to_dict(),
      "kept_kb": (kept_bytes(last.state, last.refs) + (self._data_bytes if name == "joint" else 0)) / 1000,
      "params": params_digest(last.state.params),
    }

  def _alone(self, hyper: Hyper) -> dict[str, Any]:
    """The row of a network of its own for every task, each from the same untrained weights."""
    method, run = method_of(ALONE, hyper, self.config), self.run.apart(f"seed{self.seed}", ALONE, digest(hyper))
    key, matrix = fold_name(jax.random.key(self.seed), "learn"), np.tile(self.untrained, (len(self.stream), 1))
    trained = []
    for task in self.stream:
      (found,) = uj.learn(method, self.model, [task._replace(index=0, seen=None)], key=key, run=run.scope(task.name))
      trained.append(found.model.params)
      matrix[task.index :, task.index] = metrics.accuracy_matrix([found], [task])[0]
    size = sum(x.nbytes for x in jax.tree.leaves(trained[1:]))
    return {**self._scores(matrix, []), **run.cost.to_dict(), "kept_kb": size / 1000, "params": params_digest(trained)}

  @property
  def _data_bytes(self) -> int:
    """All training data, which is what joint training keeps."""
    return sum(self.stream.train.column(name).nbytes for name in self.stream.train.columns)

  @property
  def _answerable(self) -> bool:
    """Whether the classes of a task can be answered before it comes."""
    scenario, kinds = self.config.scenario, {task.classes for task in self.stream}
    return scenario in KNOWN_TASK or (scenario != "blurry" and len(kinds) == 1)

  def _scores(self, matrix: np.ndarray, curves: list) -> dict[str, Any]:
    percent = lambda value: 100 * float(value)
    found = {
      "acc": percent(metrics.average_accuracy(matrix)),
      "bwt": percent(metrics.backward_transfer(matrix)),
      "forgetting": percent(metrics.forgetting(matrix)),
      "aia": percent(metrics.average_incremental_accuracy(matrix)),
      "la": percent(metrics.learning_accuracy(matrix)),
      "matrix": np.round(100 * matrix, 2).tolist(),
    }
    if self._answerable:
      found["fwt"] = percent(metrics.forward_transfer(matrix, self.untrained))
    curve, task, step = joined_curve(curves, len(self.stream))
    if len(curve) and task[-1] == len(self.stream) - 1:
      found["aaa"] = percent(metrics.average_anytime_accuracy(curve, task))
      found["min_acc"] = percent(metrics.min_acc(curve, task))
      thin = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), CURVE * len(self.stream))).astype(int))
      found["curve"] = {
        "accuracy": np.round(100 * curve[thin], 1).tolist(), "task": task[thin].tolist(), "step": step[thin].tolist()
      }  # fmt: skip
    return found


@functools.partial(jax.jit, static_argnums=0)
def _logits(fn, params, state, inputs):
  return fn(params, inputs, state=state, train=False).logits


def method_of(name: str, hyper: Hyper, config: Config) -> uj.Method:
  """The method of a row: its hyperparameters, and what the configuration decides."""
  return _method(name, json.dumps(hyper), config)


@functools.lru_cache(maxsize=64)
def _method(name: str, settings: str, config: Config) -> uj.Method:
  hyper = json.loads(settings)
  factory = getattr(uj.methods, FACTORY.get(name, name))
  known = inspect.signature(factory).parameters
  if "tx" in known and "rate" in hyper:
    hyper["tx"] = optax.sgd(hyper.pop("rate"))
  if "adam" in hyper:
    hyper["tx"] = optax.adam(hyper.pop("adam"))
  if "net" in hyper:
    hyper["net"] = uj.reparam.hypernet(config.tasks, **{**hyper["net"], "hidden": tuple(hyper["net"]["hidden"])})
  given = {"tasks": config.tasks, "epochs": config.epochs, "batch_size": config.batch_size}
  told = config.scenario in KNOWN_TASK
  given |= {"every": config.watch_every or None, "infer_task": not (told or config.known_task)}
  if told:
    given |= {"heads": config.tasks, "unprojected": HEAD}
  elif config.scenario in SHARED:
    given["unprojected"] = None
  return factory(**{**{k: v for k, v in given.items() if k in known}, **hyper})


def joined_curve(curves: list, tasks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Accuracies [evaluations, tasks], the task that was being learned and the step, over the whole stream."""
  rows, task, step, start = [np.zeros((0, tasks))], [np.zeros(0, int)], [np.zeros(0, int)], 0
  for index, history in curves:
    values = np.stack([history[f"watch/{j}"] for j in range(tasks)], 1)
    measured = np.isfinite(values).all(1)
    rows.append(values[measured])
    task.append(np.full(measured.sum(), index))
    step.append(start + np.flatnonzero(measured) + 1)
    start += len(values)
  return np.concatenate(rows), np.concatenate(task), np.concatenate(step)


def kept_bytes(state: uj.UnlearnState, refs: uj.core.Refs) -> int:
  """Size of what is kept between tasks besides the weights: buffers, statistics, teachers, bases, moments."""
  own = {k: v for k, v in refs.items() if k not in KEPT_ELSEWHERE}
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state.memory, state.slots, state.opt_state, own)))
