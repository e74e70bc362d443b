"""An optimizer that slows down where a new task opposes old ones."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from unlearnjax.core import check
from unlearnjax.core.precise import full_precision
from unlearnjax.core.types import Array, ArrayTree

KINDS = ("rmsprop", "adagrad", "adam")


class TagState(NamedTuple):
  """First and second moments, [tasks, ...] a leaf, and the steps made in each task, int32[tasks]."""

  first: ArrayTree
  second: ArrayTree
  count: Array


def tag(
  learning_rate: float,
  tasks: int,
  *,
  b: float = 5.0,
  b1: float = 0.9,
  b2: float | None = None,
  kind: str = "rmsprop",
  task: str = "task",
) -> optax.GradientTransformationExtraArgs:
  """Task-based accumulated gradients (Malviya et al., CoLLAs 2022, paper 68).

  Every task t has moments of its own, M^t and V^t, that start at 0. For each leaf
  theta <- theta - lr num / (sqrt(sum_{s <= t} alpha(t, s) V^s) + 1e-8), alpha(t, s) = exp(-b <M^t, M^s> / |M^t| |M^s|)
  for s < t, alpha(t, t) = exp(-b), and alpha = 1 in the first task, which is the plain rule without bias correction. An
  earlier task that the gradient opposes makes the denominator large. num is the gradient; with "adam" it is M^t, and
  both are corrected for their bias by the number of steps in the task.

  alpha(t, t) shrinks the current task's own share: on tasks that agree steps are up to exp(b / 2) times those of the
  plain rule, so that learning rates are smaller by an order of magnitude. There is no weight decay.

  Args:
    learning_rate: > 0.
    tasks: capacity: moments are kept for each, so the state is 2 * tasks times the parameters.
    b: > 0; 5, or 7 for tasks that differ much.
    b1: decay of the first moment.
    b2: decay of the second moment; 0.99, with "adam" 0.999. "adagrad" adds squares up instead.
    kind: "rmsprop", "adagrad" or "adam".
    task: `refs[task]`, int32[], the number of the running task, from 0.

  Raises:
    ValueError: arguments out of range; at update, without the ref.

  Example:
    >>> tx, theta = tag(0.1, tasks=2), jnp.zeros(2)
    >>> state = tx.init(theta)
    >>> for _ in range(3):
    ...   _, state = tx.update(jnp.array([1.0, 0.0]), state, theta, refs={"task": 0})
    >>> opposed, _ = tx.update(jnp.array([-1.0, 0.0]), state, theta, refs={"task": 1})
    >>> aligned, _ = tx.update(jnp.array([1.0, 0.0]), state, theta, refs={"task": 1})
    >>> round(float(opposed[0]), 5), round(float(aligned[0]), 4)
    (0.04763, -6.1141)
  """
  for name, value in (("learning_rate", learning_rate), ("tasks", tasks), ("b", b)):
    check.positive(name, value)
  check.one_of("kind", kind, KINDS)
  b2 = (0.999 if kind == "adam" else 0.99) if b2 is None else b2
  check.fraction("b1", b1, zero=True, one=False)
  check.fraction("b2", b2, zero=True, one=False)

  def init(params):
    zeros = lambda p: jnp.zeros((tasks, *p.shape), jnp.promote_types(p.dtype, jnp.float32))
    return TagState(jax.tree.map(zeros, params), jax.tree.map(zeros, params), jnp.zeros(tasks, jnp.int32))

  def update(updates, state, params=None, *, refs=None, **extra):
    del params, extra
    if task not in (refs or {}):
      raise ValueError(f"tag reads the running task from refs[{task!r}]; found {sorted(refs or {})}")
    t = jnp.asarray(refs[task])
    count = state.count.at[t].add(1)
    grow = lambda g, m: m.at[t].set(b1 * m[t] + (1 - b1) * g.astype(m.dtype))
    first = jax.tree.map(grow, updates, state.first)
    keep, take = (1.0, 1.0) if kind == "adagrad" else (b2, 1 - b2)
    square = lambda g, v: v.at[t].set(keep * v[t] + take * jnp.square(g.astype(v.dtype)))
    second = jax.tree.map(square, updates, state.second)
    c1, c2 = (1 - b1 ** count[t], 1 - b2 ** count[t]) if kind == "adam" else (1.0, 1.0)

    def step(g, m, v):
      weights = _shares(m, t, b)
      total = jnp.tensordot(weights, v, axes=1, precision="highest")
      numerator = m[t] / c1 if kind == "adam" else g.astype(m.dtype)
      return (-learning_rate * numerator / (jnp.sqrt(total / c2) + 1e-8)).astype(g.dtype)

    return jax.tree.map(step, updates, first, second), TagState(first, second, count)

  return optax.GradientTransformationExtraArgs(init, update)


@full_precision
def _shares(first: Array, t: Array, b: float) -> Array:
  """alpha(t, s) for all s, f[tasks]; 0 for later tasks."""
  flat = first.reshape(first.shape[0], -1)
  lengths = jnp.linalg.norm(flat, axis=1)
  both = lengths * lengths[t]
  cosine = jnp.where(both > 0, flat @ flat[t] / jnp.where(both > 0, both, 1.0), 0.0)  # a leaf without gradient: 0
  index = jnp.arange(first.shape[0])
  alpha = jnp.where(index == t, jnp.exp(-b), jnp.exp(-b * cosine))
  return jnp.where(index > t, 0.0, jnp.where(t == 0, 1.0, alpha))
