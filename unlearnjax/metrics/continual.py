"""Continual learning at the ends of tasks: the accuracy matrix R and what is read off it.

R[i, j] in [0, 1] is the accuracy on task j after task i has been learned; rows may stop early. All metrics take the
plain matrix; `after` counts the tasks that have been learned, the number of rows by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from unlearnjax.core import Run, Task, as_examples, check
from unlearnjax.core.fold import outputs


def accuracy_matrix(models: Iterable[Any], tasks: Iterable[Task], run: Run | None = None) -> np.ndarray:
  """Accuracy on every task's test set of every model of a sequence, one row a model.

  Args:
    models: models, or the results that `uj.learn` yields; they are used one at a time.
    tasks: with test sources that have the column "y".
    run: batch size, mesh and ledger.

  Returns:
    float64[number of models, number of tasks] in [0, 1].

  Raises:
    ValueError: a task without test data.

  Example:
    >>> import jax
    >>> import unlearnjax as uj
    >>> stream = uj.data.class_incremental("digits", tasks=2)
    >>> fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=10)
    >>> accuracy_matrix([fn.init(jax.random.key(0))], stream).shape
    (1, 2)
  """
  tasks = list(tasks)
  for task in tasks:
    if task.test is None or not len(task.test):
      raise ValueError(f"task {task.name!r} has no test data")
  tests = [as_examples(task.test) for task in tasks]
  rows = []
  for found in models:
    model = getattr(found, "model", found)
    right = [outputs(model, test, run)["logits"].argmax(-1) == test.column("y") for test in tests]
    rows.append([float(np.mean(r)) for r in right])
  return np.array(rows, np.float64).reshape(-1, len(tasks))


def average_accuracy(matrix: Any, *, after: int | None = None) -> float:
  """ACC: mean accuracy on the tasks learned so far, in [0, 1]; higher is better. A_k = (1/k) sum_{j<=k} R[k, j].

  Example:
    >>> average_accuracy([[0.9, 0.5], [0.7, 0.95]]), average_accuracy([[0.9, 0.5], [0.7, 0.95]], after=1)
    (0.825, 0.9)
  """
  r, k = _matrix(matrix, after)
  return float(_known(r[k - 1, :k], "average_accuracy").mean())


def average_incremental_accuracy(matrix: Any, *, after: int | None = None, first: bool = True) -> float:
  """AIA: mean over k of ACC after k tasks, in [0, 1]; higher is better. `first=False` leaves out k = 1, as some do.

  Example:
    >>> round(average_incremental_accuracy([[0.9, 0.5, 0.5], [0.7, 0.95, 0.6], [0.6, 0.85, 0.92]]), 5)
    0.83833
  """
  _, k = _matrix(matrix, after, least=1 if first else 2, name="average_incremental_accuracy")
  return float(np.mean([average_accuracy(matrix, after=i) for i in range(1 if first else 2, k + 1)]))


def backward_transfer(
  matrix: Any, *, after: int | None = None, definition: Literal["paper", "gem_code"] = "paper"
) -> float:
  """BWT = 1/(T-1) sum_{j<T} (R[T, j] - R[j, j]), in [-1, 1]; higher is better, negative is forgetting.

  Lopez-Paz and Ranzato, arXiv:1706.08840, whose code divides by T: `definition="gem_code"`.

  Raises:
    ValueError: fewer than two tasks learned.

  Example:
    >>> r = [[0.9, 0.5, 0.5], [0.7, 0.95, 0.6], [0.6, 0.85, 0.92]]
    >>> round(backward_transfer(r), 4), round(backward_transfer(r, definition="gem_code"), 4)
    (-0.2, -0.1333)
  """
  check.one_of("definition", definition, ("paper", "gem_code"))
  r, k = _matrix(matrix, after, least=2, name="backward_transfer")
  moved = _known(r[k - 1, : k - 1] - np.diag(r)[: k - 1], "backward_transfer")
  return float(moved.sum() / (k if definition == "gem_code" else k - 1))


def forward_transfer(matrix: Any, baseline: Sequence[float], *, after: int | None = None) -> float:
  """FWT = 1/(T-1) sum_{j>=2} (R[j-1, j] - b_j), in [-1, 1]; higher is better.

  What earlier tasks give to one that has not come yet. Where every task brings its own outputs (class-incremental
  learning) it says nothing.

  Args:
    matrix: R with the entries above the diagonal.
    baseline: b, accuracy of the untrained network on every task, f[T].
    after: tasks learned.

  Raises:
    ValueError: fewer than two tasks learned, or a baseline of another length.

  Example:
    >>> r = [[0.9, 0.5, 0.5], [0.7, 0.95, 0.6], [0.6, 0.85, 0.92]]
    >>> round(forward_transfer(r, [0.5, 0.5, 0.5]), 4)
    0.05
  """
  r, k = _matrix(matrix, after, least=2, name="forward_transfer")
  baseline = np.asarray(baseline, np.float64)
  if baseline.shape != (r.shape[1],):
    raise ValueError(f"baseline must hold one accuracy a task, [{r.shape[1]}], got shape {baseline.shape}")
  ahead = np.array([r[j - 1, j] - baseline[j] for j in range(1, k)])
  return float(_known(ahead, "forward_transfer").mean())


def forgetting(
  matrix: Any,
  *,
  after: int | None = None,
  definition: Literal["chaudhry", "gem", "avalanche", "mammoth"] = "chaudhry",
) -> float:
  """How much accuracy on old tasks was lost, in [-1, 1]; lower is better, negative is backward transfer.

  * "chaudhry": 1/(k-1) sum_{j<k} (max_{l<k} R[l, j] - R[k, j]), Chaudhry et al., ECCV 2018, arXiv:1801.10112.
  * "avalanche": 1/(k-1) sum_{j<k} (R[j, j] - R[k, j]), the negative of BWT.
  * "gem": the same sum divided by k, the negative of what the code of GEM prints.
  * "mammoth": the maximum includes the last row, counts entries before a task was learned as 0, and is never negative.

  Raises:
    ValueError: fewer than two tasks learned, or an unknown definition.

  Example:
    >>> r = [[0.6, 0.0, 0.0], [0.8, 0.7, 0.0], [0.9, 0.75, 0.8]]
    >>> [round(forgetting(r, definition=d), 4) for d in ("chaudhry", "avalanche", "gem", "mammoth")]
    [-0.075, -0.175, -0.1167, 0.0]
  """
  check.one_of("definition", definition, ("chaudhry", "gem", "avalanche", "mammoth"))
  if definition in ("gem", "avalanche"):
    return -backward_transfer(matrix, after=after, definition="gem_code" if definition == "gem" else "paper")
  r, k = _matrix(matrix, after, least=2, name="forgetting")
  if definition == "mammoth":
    best = np.max(np.tril(r[:k, :k]), axis=0)[: k - 1]
  else:
    with np.errstate(invalid="ignore"):
      best = np.max(np.where(np.isnan(r[: k - 1, : k - 1]), -np.inf, r[: k - 1, : k - 1]), axis=0)
  return float(_known(best - r[k - 1, : k - 1], "forgetting").mean())


def learning_accuracy(matrix: Any, *, after: int | None = None) -> float:
  """LA = (1/T) sum_j R[j, j], in [0, 1]; higher is better. ACC = LA + (T - 1) / T * BWT.

  Example:
    >>> round(learning_accuracy([[0.9, 0.5], [0.7, 0.95]]), 4)
    0.925
  """
  return float(plasticity(matrix, after=after).mean())


def plasticity(matrix: Any, *, after: int | None = None) -> np.ndarray:
  """R[j, j] of every task learned, f[k]: a sequence that falls is a loss of plasticity. Give the matrix of training
  accuracies to see whether tasks can still be fitted.

  Example:
    >>> plasticity([[0.9, 0.5], [0.7, 0.95]]).tolist()
    [0.9, 0.95]
  """
  r, k = _matrix(matrix, after)
  return _known(np.diag(r)[:k], "plasticity")


def intransigence(matrix: Any, joint: Sequence[float], *, after: int | None = None) -> float:
  """I_k = a*_k - R[k, k], in [-1, 1]; lower is better: what is missing to learn the newest task.

  Args:
    matrix: R.
    joint: a*, accuracy on task k of a model trained on tasks 1..k together, f[T].
    after: k.

  Example:
    >>> round(intransigence([[0.9, 0.5], [0.7, 0.95]], [0.9, 0.97]), 4)
    0.02
  """
  r, k = _matrix(matrix, after)
  joint = np.asarray(joint, np.float64)
  if joint.ndim != 1 or len(joint) < k:
    raise ValueError(f"joint must hold one accuracy a task, at least {k}, got shape {joint.shape}")
  return float(_known(joint[k - 1 : k] - r[k - 1, k - 1 : k], "intransigence")[0])


def _matrix(matrix: Any, after: int | None, least: int = 1, name: str = "the metric") -> tuple[np.ndarray, int]:
  """R in float64 and how many tasks count."""
  try:
    r = np.asarray(matrix, np.float64)
  except ValueError as e:
    raise ValueError(f"matrix must be numbers [tasks learned, tasks], NaN where nothing was measured: {e}") from e
  if r.ndim != 2 or r.shape[0] < 1 or r.shape[0] > r.shape[1]:
    raise ValueError(f"matrix must be [tasks learned, tasks], at most square, got shape {r.shape}")
  if r[~np.isnan(r)].size and not (0 <= np.nanmin(r) and np.nanmax(r) <= 1):
    raise ValueError(f"accuracies must lie in [0, 1], got {np.nanmin(r):g}..{np.nanmax(r):g}")
  k = r.shape[0] if after is None else int(after)
  if not 1 <= k <= r.shape[0]:
    raise ValueError(f"after must be in [1, {r.shape[0]}]: the matrix has {r.shape[0]} tasks learned, got {k}")
  if k < least:
    raise ValueError(f"{name} needs at least {least} tasks learned, got {k}")
  return r, k


def _known(values: np.ndarray, name: str) -> np.ndarray:
  if not np.isfinite(values).all():
    raise ValueError(f"{name} reads entries of the matrix that were not measured (NaN)")
  return values
