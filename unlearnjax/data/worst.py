"""The forget set that is hardest, or easiest, to forget. Fan et al., ECCV 2024, arXiv:2403.07362 (paper 18)."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax

from unlearnjax import losses, objectives, updates
from unlearnjax.core import (
  ForgetRequest,
  Model,
  ModelFn,
  Run,
  Transform,
  UnlearnState,
  check,
  descend,
  fit,
  outputs,
  zip_roles,
)
from unlearnjax.core.types import Array
from unlearnjax.data.datasets import Dataset
from unlearnjax.data.splits import as_dataset, forget_ids


def worst_case(
  model: Model,
  dataset: Dataset | str,
  fraction: float,
  *,
  key: Array,
  easiest: bool = False,
  rounds: int = 10,
  step: float = 100.0,
  gamma: float = 0.0,
  learning_rate: float = 1e-3,
  epochs: int = 2,
  batch_size: int = 128,
  run: Run | None = None,
) -> ForgetRequest:
  """Forgets the round(fraction * n) training rows that fine-tuning on the others leaves best remembered.

  min_w sum_i w_i l_i(theta(w)) + gamma |w|^2 over 0 <= w <= 1, sum w = k, with theta(w) what sign-SGD on
  (1 / B) sum_i (1 - w_i) l_i makes of the model. Every round starts from the model's weights, and then takes
  w <- P(w - step (l + 2 gamma w)), P the projection onto the capped simplex: with signs the weights do not pass a
  gradient to w. The first w is a random set, the last one is cut to its k largest entries. Methods are graded on the
  set: what the other examples already determine cannot be forgotten.

  Args:
    model: the trained classifier; it is not changed.
    dataset: a classification data set, or the name of one.
    fraction: in (0, 1).
    key: a typed key; same key, same set.
    easiest: ascends instead, which gives the set that is forgotten most easily.
    rounds: projected steps; the published runs take few.
    step: > 0, per nat. 0.01 moves the random set hardly at all where losses are small; beyond 1 / (differences of
      losses) a round takes the k smallest losses.
    gamma: >= 0, evens out the weights.
    learning_rate: of sign-SGD.
    epochs: passes over the training set a round.
    batch_size: rows of a step.
    run: where to save, progress, mesh, ledger; a selection that was finished is not made again.

  Returns:
    a request as of `forget_ids`; its ids are sorted.

  Raises:
    ValueError: regression data, or numbers out of range.

  Example:
    >>> import unlearnjax as uj
    >>> data = uj.data.load("digits", train_size=200)
    >>> fn = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10, widths=(16,))
    >>> request = worst_case(fn.init(jax.random.key(0)), data, 0.1, key=jax.random.key(1), rounds=1)
    >>> len(request.forget), len(request.retain), request.reason
    (20, 180, 'worst case 0.1')
  """
  check.fraction("fraction", fraction, one=False)
  for name, value in (("rounds", rounds), ("step", step), ("learning_rate", learning_rate), ("epochs", epochs)):
    check.positive(name, value)
  check.positive("gamma", gamma, zero=True)
  dataset = as_dataset(dataset)
  if dataset.task != "classification":
    raise ValueError(f"worst_case needs a classification data set; {dataset.name!r} is for {dataset.task}")
  run = run or Run()
  total = len(dataset.train)
  chosen = min(max(1, round(fraction * total)), total - 1)
  direction = -step if not easiest else step

  def select():
    start_key, fit_key = jax.random.split(key)
    weights = np.zeros(total, np.float32)
    weights[np.asarray(jax.random.permutation(start_key, total))[:chosen]] = 1
    lower = fine_tuning(model.fn, learning_rate)
    for i in range(rounds):
      state = UnlearnState.create(model.params, rng=jax.random.fold_in(fit_key, i), model_state=model.state)
      table = dataset.train.replace(weight=1 - weights)
      plan = zip_roles(train=table, batch_size=batch_size, epochs=epochs)
      state, _ = fit(lower, lower.init(state), plan, run=run, name=f"round{i}")
      tuned = Model(state.params, state.model_state, model.refs, model.fn)
      slope = losses_of(tuned, dataset.train, run) + 2 * gamma * weights
      weights = np.asarray(_project(weights + direction * slope, chosen))
    return {"ids": np.sort(dataset.train.ids[np.argsort(-weights, kind="stable")[:chosen]])}

  ids = np.asarray(run.once("worst_case", select)["ids"])
  return forget_ids(dataset, ids)._replace(reason=f"{'easiest' if easiest else 'worst'} case {fraction:g}")


@functools.lru_cache(maxsize=32)
def fine_tuning(fn: ModelFn, learning_rate: float) -> Transform:
  """The lower level: sign-SGD on the training loss, an example a weight."""
  tx = optax.chain(updates.sign(), optax.scale(-learning_rate))
  return descend({"train": objectives.row_weighted(fn)}, tx, state_from="train")


def losses_of(model: Model, source, run: Run) -> np.ndarray:
  """Cross entropy of every example, f32[n], in order."""
  logits = outputs(model, source, run, name="losses")["logits"]
  return np.asarray(losses.cross_entropy(logits, source.column("y")))


_project = jax.jit(updates.project_capped_simplex, static_argnames="total")
