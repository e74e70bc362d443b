"""Which training data matters to which test set, by unlearning. Isonuma & Titov 2024, arXiv:2401.15241 (paper 53).

Everything here speaks of loss after a data set is removed minus loss before: positive data was helpful. Entry (s, j) is
the influence of training set s on test set j; the scale of a column means nothing, compare within it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import curvature, objectives
from unlearnjax.core import (
  Examples,
  Model,
  ModelFn,
  Run,
  Statistic,
  Transform,
  UnlearnState,
  as_examples,
  check,
  descend,
  fit,
  fold,
  zip_roles,
)
from unlearnjax.core.types import Array, Objective
from unlearnjax.objectives.bind import eval_view

Sets = Mapping[str, Any]
Builder = Callable[..., Objective]
ADAM = optax.adam(5e-5)


def untrac(
  model: Model,
  parts: Sets,
  tests: Sets,
  *,
  objective: Builder = objectives.cross_entropy,
  tx: optax.GradientTransformation = ADAM,
  epochs: int = 1,
  batch_size: int = 1,
  key: Array,
  run: Run | None = None,
) -> np.ndarray:
  """UnTrac: each training set is unlearned by gradient ascent, and the change of the test losses is read.

  I[s, j] = sum over test set j of loss(theta_T) - loss(theta_0), theta_T after ascent on the batches of set s.

  Args:
    model: the trained model, theta_0; it is not changed.
    parts: training sets by name, `Source`s.
    tests: test sets by name.
    objective: `(fn, train=bool) -> Objective` that reports `aux["weight"]`, e.g. `objectives.nll`.
    tx: optimizer of the ascent; Adam 5e-5 without decay as in the paper. Give one value for all calls: it is compiled
      once for each.
    epochs: passes over a training set.
    batch_size: rows of a step; the paper's 1.
    key: decides the order of data.
    run: progress, mesh, ledger; with `run.out` it resumes.

  Returns:
    f64[S, J], in the order of `parts` and `tests`.

  Example:
    >>> from unlearnjax.core import Outputs
    >>> line = Model(jnp.zeros(()), fn=lambda params, inputs, **_: Outputs(params * inputs["x"]))
    >>> square = functools.partial(objectives.supervised, loss=lambda out, y: jnp.sum((out - y) ** 2, -1) / 2)
    >>> one = Examples({"x": np.ones((1, 1), np.float32), "y": np.ones((1, 1), np.float32)})
    >>> found = untrac(
    ...   line, {"it": one}, {"it": one}, objective=square, tx=optax.sgd(0.1), batch_size=1, key=jax.random.key(0)
    ... )
    >>> round(float(found[0, 0]), 3)  # (1.1^2 - 1) / 2
    0.105
  """
  check.positive("epochs", epochs)
  run = (run or Run()).scope("untrac")
  before = _losses(model, tests, objective, run)
  rows = []
  for name, source in parts.items():
    plan = zip_roles(forget=source, batch_size=batch_size, epochs=epochs)
    moved = _fitted(model, _ascent(model.fn, objective, tx), plan, key, run, name)
    rows.append(_losses(moved, tests, objective, run) - before)
  return np.array(rows)


def untrac_inv(
  model: Model,
  parts: Sets,
  tests: Sets,
  *,
  objective: Builder = objectives.cross_entropy,
  tx: optax.GradientTransformation = ADAM,
  steps: int = 5,
  batch_size: int | None = None,
  key: Array,
  run: Run | None = None,
) -> np.ndarray:
  """UnTrac-Inv: each test set is unlearned instead, and the change of the training losses is read: J runs for any S.

  I[s, j] = sum over training set s of loss(theta_T) - loss(theta_0), theta_T after ascent on test set j. To first order
  the same as `untrac`.

  Args:
    model, parts, tests, objective, tx, key, run: as in `untrac`.
    steps: of the ascent; the paper's 5.
    batch_size: rows of a step; None takes the whole test set, as the paper does.

  Returns:
    f64[S, J]: sums over training sets, so that larger sets have larger influence.
  """
  check.positive("steps", steps)
  run = (run or Run()).scope("untrac_inv")
  before = _losses(model, parts, objective, run)
  columns = []
  for name, source in tests.items():
    plan = _plan("forget", as_examples(source), batch_size, steps)
    moved = _fitted(model, _ascent(model.fn, objective, tx), plan, key, run, name)
    columns.append(_losses(moved, parts, objective, run) - before)
  return np.array(columns).T


def gradient_influence(
  model: Model,
  parts: Sets,
  tests: Sets,
  *,
  kind: str = "dot",
  objective: Builder = objectives.cross_entropy,
  run: Run | None = None,
) -> np.ndarray:
  """GradDot or GradCos: gradients of training sets against those of test sets, the baselines of `untrac`.

  dot: <sum of gradients of set s, sum of gradients of test set j>, TracIn at the last checkpoint and what both UnTracs
  are to first order with plain SGD. cosine: that over both lengths.

  Args:
    model, parts, tests, objective, run: as in `untrac`.
    kind: "dot" or "cosine".

  Returns:
    f64[S, J].
  """
  check.one_of("kind", kind, ("dot", "cosine"))
  statistic = _gradient(model.fn, objective)
  flat = lambda source, name: np.concatenate(
    [np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(fold(statistic, model, source, run, name=name))]
  )
  rows, columns = (np.stack([flat(s, n) for n, s in sets.items()]) for sets in (parts, tests))
  if kind == "cosine":
    rows, columns = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (rows, columns))
  return rows @ columns.T


class LeaveOneOut(NamedTuple):
  """What removing data sets really does.

  Attributes:
    influence: f64[S, J].
    full: the model that was trained on all sets: what the estimates start from.
  """

  influence: np.ndarray
  full: Model


def leave_one_out(
  model: Model,
  parts: Sets,
  tests: Sets,
  *,
  tx: optax.GradientTransformation,
  steps: int,
  batch_size: int,
  objective: Builder = objectives.cross_entropy,
  key: Array,
  run: Run | None = None,
) -> LeaveOneOut:
  """The truth that influence estimates are compared with: training again without each set, for as many steps.

  One seed is noisy: average over several keys.

  Args:
    model: before training.
    parts: training sets by name, disjoint selections of one table.
    tests, objective, key, run: as in `untrac`; all trainings share the key.
    tx: optimizer of the trainings.
    steps: of each training, whatever the size of its data.
    batch_size: rows of a step.

  Raises:
    ValueError: fewer than two parts.
  """
  if len(parts) < 2:
    raise ValueError(f"parts must hold at least two training sets, got {len(parts)}")
  run = (run or Run()).scope("leave_one_out")
  step = _descent(model.fn, objective, tx)

  def trained(label: str, without: str | None) -> Model:
    source = functools.reduce(lambda a, b: a + b, (as_examples(s) for name, s in parts.items() if name != without))
    return _fitted(model, step, _plan("train", source, batch_size, steps), key, run, label)

  full = trained("full", None)
  before = _losses(full, tests, objective, run)
  rows = [_losses(trained(f"without_{name}", name), tests, objective, run) - before for name in parts]
  return LeaveOneOut(np.array(rows), full)


def influence_agreement(estimate: Any, truth: Any, *, kind: str = "pearson") -> np.ndarray:
  """Correlation of estimated and true influences over training sets, one a test set, in [-1, 1]; higher is better.

  Args:
    estimate: f[S, J], S >= 2.
    truth: f[S, J].
    kind: "pearson" or "spearman", of ranks.

  Returns:
    f64[J]; NaN where all estimates or all truths of a test set are equal.

  Example:
    >>> influence_agreement([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]]).tolist()
    [1.0]
  """
  check.one_of("kind", kind, ("pearson", "spearman"))
  a, b = (np.asarray(x, np.float64) for x in (estimate, truth))
  if a.ndim != 2 or a.shape != b.shape or len(a) < 2:
    raise ValueError(f"estimate and truth must be [S, J] with S >= 2, got shapes {a.shape} and {b.shape}")
  if kind == "spearman":
    from scipy.stats import rankdata

    a, b = rankdata(a, axis=0), rankdata(b, axis=0)
  a, b = a - a.mean(0), b - b.mean(0)
  scale = np.sqrt((a * a).sum(0) * (b * b).sum(0))
  return np.where(scale > 0, (a * b).sum(0) / np.where(scale > 0, scale, 1), np.nan)


def _plan(role: str, source: Examples, batch_size: int | None, steps: int):
  size = len(source) if batch_size is None else min(batch_size, len(source))
  epochs = -(-steps // -(-len(source) // size))
  return zip_roles(batch_size=size, epochs=epochs, **{role: source})._replace(steps=steps)


def _fitted(model: Model, step: Transform, plan, key: Array, run: Run, name: str) -> Model:
  state = step.init(UnlearnState.create(model.params, rng=key, model_state=model.state))
  state, _ = fit(step, state, plan, model.refs, run, name=name)
  return model.replace(params=state.params, state=state.model_state)


def _losses(model: Model, sets: Sets, objective: Builder, run: Run) -> np.ndarray:
  """Sum of the loss over each set, in eval mode."""
  statistic = _total(model.fn, objective)
  return np.array([float(fold(statistic, model, source, run, name="losses")) for source in sets.values()])


@functools.lru_cache(maxsize=32)
def _ascent(fn: ModelFn, objective: Builder, tx: optax.GradientTransformation) -> Transform:
  return descend({"forget": objectives.negated(objective(fn))}, tx, state_from="forget")


@functools.lru_cache(maxsize=32)
def _descent(fn: ModelFn, objective: Builder, tx: optax.GradientTransformation) -> Transform:
  return descend({"train": objective(fn)}, tx, state_from="train")


@functools.lru_cache(maxsize=32)
def _gradient(fn: ModelFn, objective: Builder) -> Statistic:
  return curvature.gradient(objective(fn, train=False), reduce="sum")


@functools.lru_cache(maxsize=32)
def _total(fn: ModelFn, objective: Builder) -> Statistic:
  measured = objective(fn, train=False)

  def update(acc, model, batch, rng):
    value, aux = measured(model.params, batch, eval_view(model, rng))
    return acc + value.astype(jnp.float32) * aux["weight"]

  return Statistic(lambda model: jnp.zeros(()), update)
