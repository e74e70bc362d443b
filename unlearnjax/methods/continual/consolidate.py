"""The shared half of methods that hold important weights near where earlier tasks left them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from unlearnjax import objectives
from unlearnjax.core import ModelFn, NonFiniteError, Refs, Run, Task, UnlearnState, Verbs, descend
from unlearnjax.core.types import ArrayTree
from unlearnjax.methods.continual.parts import learner, open_head

Measure = Callable[[UnlearnState, Refs, Task, Run], ArrayTree]


def no_anchor(model: Any, key: Any) -> Refs:
  """Refs before the first task: nothing is important, and the anchor is where training starts."""
  del key
  zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)), model.params)
  return {"importance": zeros, "anchor": {"params": model.params}}


def consolidated(
  fn: ModelFn,
  tx: optax.GradientTransformation,
  *,
  weight: float,
  measure: Measure,
  merge: Callable[[ArrayTree, ArrayTree, ArrayTree, ArrayTree], tuple[ArrayTree, ArrayTree]],
  **settings: Any,
) -> Verbs:
  """The verbs of CE(current) + weight * sum_j Omega_j (theta_j - anchor_j)^2, Omega measured at the end of each task.

  Args:
    fn: the model function that was bound.
    tx: optimizer of the sum.
    weight: of the penalty.
    measure: the new task's importance; kept by `run.once`, so that a crash does not compute it twice.
    merge: (importance, anchor, new importance, weights) -> (importance, anchor).
    **settings: epochs, batch_size and every of `parts.learner`.
  """
  roles = {
    "current": objectives.cross_entropy(open_head(fn)),
    "past": objectives.scaled(objectives.anchored(), weight),
  }

  def after(state: UnlearnState, refs: Refs, task: Task, run: Run) -> tuple[UnlearnState, Refs]:
    found = run.once("importance", lambda: measure(state, refs, task, run))
    importance, anchor = merge(refs["importance"], refs["anchor"]["params"], found, state.params)
    return state, {**refs, "importance": importance, "anchor": {"params": anchor}}

  verbs = learner(fn, descend(roles, tx, state_from="current"), refs=no_anchor, after=after, **settings)
  return naming_strength(verbs, tx, weight)


def naming_strength(verbs: Verbs, tx: optax.GradientTransformation, weight: float) -> Verbs:
  """The verbs, whose error names `strength` where a task diverged because the penalty is too steep for the steps.

  Descent on weight * Omega (theta - anchor)^2 with step size h multiplies the distance by 1 - 2 h weight Omega, which
  grows without bound once 2 h weight Omega > 2. Omega adds up over tasks, so a stream may begin well and end so.

  Args:
    verbs: with refs["importance"].
    tx: optimizer; h is how far its first step goes for a gradient of ones.
    weight: of the penalty.
  """

  def learn(state: UnlearnState, refs: Refs, task: Task, run: Run) -> tuple[UnlearnState, Refs]:
    try:
      return verbs.learn(state, refs, task, run)
    except NonFiniteError as error:
      curvature = 2 * weight * max(float(jnp.max(x)) for x in jax.tree.leaves(refs["importance"]))
      size = _step_size(tx, refs["anchor"]["params"])
      if size * curvature <= 2:
        raise
      raise NonFiniteError(
        f"strength is too large for these steps: at task {task.name!r} the penalty's largest curvature, "
        f"{curvature:.3g}, times the step size, {size:.3g}, is {size * curvature:.3g}, and descent diverges above 2; "
        f"lower strength, or the step size to less than {2 / curvature:.2g}",
        error.step,
        error.names,
      ) from error

  return verbs._replace(learn=learn)


def _step_size(tx: optax.GradientTransformation, params: ArrayTree) -> float:
  ones = jax.tree.map(jnp.ones_like, params)
  moves, _ = optax.with_extra_args_support(tx).update(ones, tx.init(params), params)
  return max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(moves))


def decayed(decay: float) -> Callable[..., tuple[ArrayTree, ArrayTree]]:
  """Omega <- decay (Omega + new), and the anchor moves to the present weights.

  Example:
    >>> decayed(0.5)(jnp.array(2.0), jnp.array(0.0), jnp.array(4.0), jnp.array(7.0))[0].tolist()
    3.0
  """

  def merge(importance, anchor, found, params):
    del anchor
    return jax.tree.map(lambda a, b: decay * (a + b), importance, found), params

  return merge


def summed(
  importance: ArrayTree, anchor: ArrayTree, found: ArrayTree, params: ArrayTree
) -> tuple[ArrayTree, ArrayTree]:
  """Quadratics around several anchors as one: S = sum_k F_k around sum_k F_k theta_k / S, up to a constant.

  Example:
    >>> new = summed(jnp.array([1.0, 0.0]), jnp.array([0.0, 9.0]), jnp.array([3.0, 0.0]), jnp.array([4.0, 5.0]))
    >>> [x.tolist() for x in new]
    [[4.0, 0.0], [3.0, 5.0]]
  """
  total = jax.tree.map(jnp.add, importance, found)

  def middle(s, f, a, p):
    mixed = (a * (s - f) + p * f) / jnp.where(s > 0, s, 1.0)
    return jnp.where(s > 0, mixed, p).astype(p.dtype)

  return total, jax.tree.map(middle, total, found, anchor, params)
