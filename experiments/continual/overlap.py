"""What the tangent kernel of the untrained model says of every pair of tasks, and what plain training did to them.

Doan et al., arXiv:2010.04003. Row s, column t < s is about what learning task s does to the earlier task t; other
entries are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import unlearnjax as uj
from unlearnjax import curvature, losses

OUTPUTS = 120
"""Examples times outputs of a task that go into a kernel, at most; models with more than half of it are left out."""


def examples_of(outputs: int) -> int:
  """How many examples of a task are looked at; 0 where the kernels of two tasks would be too large.

  Example:
    >>> examples_of(10), examples_of(50), examples_of(150)
    (12, 2, 0)
  """
  return OUTPUTS // outputs if 2 * outputs <= OUTPUTS else 0


def foreseen(model: uj.Model, tasks: Mapping[str, Any], logits: Any, *, ridge: float = 1e-2) -> dict[str, np.ndarray]:
  """How far tasks share directions of the weights, and what the linear theory expects of each step of the stream.

  The kernels are those of the untrained model. What a task still has to learn when it comes is one-hot answers minus
  the probabilities that the model gives then: the pull of the cross entropy on its outputs.

  Args:
    model: untrained.
    tasks: a role batch of leaves [T, n, ...]: examples of every task.
    logits: f[T, n, C], what the model says of them when their task comes.
    ridge: relative to the mean squared norm of a row of the first task's Jacobian.

  Returns:
    {"overlap": f[T, T] in [0, 1], the mean squared cosine between the tangent spaces, 1 for the same examples;
    "expected": f[T, T] >= 0, root mean square over examples of the predicted change of task t's outputs}.
  """
  count, size = tasks["valid"].shape
  part = lambda t: jax.tree.map(lambda x: x[t], dict(tasks))

  first = curvature.ntk(model.fn, model.params, part(0)["inputs"], state=model.state, refs=model.refs)
  weight = ridge * float(jnp.trace(first.reshape(np.prod(first.shape[:2]), -1)) / np.prod(first.shape[:2]))

  @jax.jit
  def pair(model, old, new, said):
    residual = jax.nn.one_hot(new["y"], said.shape[-1]) - jax.nn.softmax(said)
    found = curvature.ntk_overlap(
      model.fn,
      model.params,
      old["inputs"],
      new["inputs"],
      residual,
      ridge=weight,
      state=model.state,
      refs=model.refs,
    )
    return jnp.mean(found.cosines**2), jnp.sqrt(found.forgetting / size)

  said = jnp.asarray(logits)
  found = {name: np.full((count, count), np.nan) for name in ("overlap", "expected")}
  for s in range(count):
    for t in range(s):
      found["overlap"][s, t], found["expected"][s, t] = map(float, pair(model, part(t), part(s), said[s]))
  return found


def measured(accuracy: np.ndarray, loss: np.ndarray) -> dict[str, np.ndarray]:
  """What happened: from rows after each task, [T, T] each.

  Returns:
    {"drop": accuracy on t before task s minus after it; "rise": the cross entropy on t after s minus before it}.

  Example:
    >>> measured(np.array([[0.9, 0.1], [0.5, 0.8]]), np.array([[0.2, 9.0], [1.2, 0.3]]))["drop"].round(2).tolist()
    [[nan, nan], [0.4, nan]]
  """
  below = np.tril(np.ones_like(accuracy, bool), -1)
  change = lambda m: np.where(below, np.diff(m, axis=0, prepend=np.nan), np.nan)
  return {"drop": -change(accuracy), "rise": change(loss)}


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
  """Spearman's, over the entries that both have; NaN where one of them does not vary.

  Example:
    >>> rank_correlation(np.array([1.0, 2.0, np.nan, 5.0]), np.array([2.0, 3.0, 0.0, 9.0]))
    1.0
  """
  from scipy.stats import spearmanr

  both = np.isfinite(a) & np.isfinite(b)
  x, y = a[both], b[both]
  if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
    return float("nan")
  return float(spearmanr(x, y).statistic)


def losses_of(model: uj.Model, tests: Sequence[Any]) -> list[float]:
  """Mean cross entropy in nats on every test set."""
  found = []
  for test in tests:
    logits = jnp.asarray(uj.outputs(model, test)["logits"])
    found.append(float(jnp.mean(losses.cross_entropy(logits, jnp.asarray(test.column("y"))))))
  return found


def summary(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Everything as a JSON value, NaN as None, with the rank correlations between what is foreseen and measured."""
  plain = lambda m: [[round(float(v), 4) if np.isfinite(v) else None for v in row] for row in np.asarray(m)]
  pairs = {f"{a}/{b}": rank_correlation(before[a], after[b]) for a in before for b in after}
  return {
    **{name: plain(m) for name, m in {**before, **after}.items()},
    "rank_correlation": {k: round(v, 3) if np.isfinite(v) else None for k, v in pairs.items()},
  }
