"""Objectives made of objectives, and objectives of parameters alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array, Objective
from unlearnjax.objectives.bind import ref, shared_forward


def scaled(objective: Objective, coefficient: float | Callable[[Array], Array]) -> Objective:
  """`coefficient * objective`.

  Args:
    objective: any objective; its aux is passed on.
    coefficient: a number, or a schedule of `view.progress` in [0, 1) such as `updates.linear_decay()`.

  Example:
    >>> from unlearnjax.core.types import View
    >>> one = lambda params, batch, view: (jnp.ones(()), {})
    >>> view = View(0, jax.random.key(0), {}, {}, (), progress=0.25)
    >>> float(scaled(one, lambda progress: 1 - progress)({}, None, view)[0])
    0.75
  """

  def f(params, batch, view):
    value, aux = objective(params, batch, view)
    return (coefficient(view.progress) if callable(coefficient) else coefficient) * value, aux

  return f


def negated(objective: Objective) -> Objective:
  """`-objective`: gradient ascent. Without a bound on the loss it diverges; keep the steps few and small.

  Example:
    >>> one = lambda params, batch, view: (jnp.ones(()), {})
    >>> float(negated(one)({}, None, None)[0])
    -1.0
  """

  def f(params, batch, view):
    value, aux = objective(params, batch, view)
    return -value, aux

  return f


def added(*objectives: Objective) -> Objective:
  """The sum of objectives on one role batch, e.g. `added(scaled(cross_entropy(fn), .99), scaled(distill(fn), .01))`.

  Objectives of one `fn` share its forward pass, and so the backward one. Where several report one name in aux, the
  first stands; a weight is reported only when all report one.

  Example:
    >>> one = lambda params, batch, view: (jnp.ones(()), {"weight": 2.0})
    >>> value, aux = added(one, scaled(one, 0.5))({}, None, None)
    >>> float(value), aux["weight"]
    (1.5, 2.0)
  """
  if not objectives:
    raise ValueError("added needs at least one objective")

  def f(params, batch, view):
    with shared_forward():
      found = [objective(params, batch, view) for objective in objectives]
    aux = {k: v for _, a in reversed(found) for k, v in a.items()}
    if any("weight" not in a for _, a in found):
      aux.pop("weight", None)
    return sum(value for value, _ in found), aux

  return f


def penalty(f: Callable[..., Array], *, reference: str | None = None) -> Objective:
  """An objective of the parameters alone, for a role without a batch.

  Args:
    f: `params -> f[]`, e.g. `losses.l1_norm`; with a reference `(params, reference params) -> f[]`, e.g.
      `losses.squared_distance`.
    reference: name of `refs[reference] = {"params": ...}`.

  Example:
    >>> from unlearnjax.losses import l1_norm
    >>> float(penalty(l1_norm)({"w": jnp.array([1.0, -2.0])}, None, None)[0])
    3.0
  """

  def objective(params, batch, view):
    return (f(params) if reference is None else f(params, ref(view, reference)["params"])), {}

  return objective


class PerTask:
  """An objective of T tasks: called, it gives their losses; `rows` gives their gradients, one forward and one backward
  a task, where a Jacobian of the vector of losses would run T times through all of them. Accelerators take all tasks at
  once, a CPU one after another: see `_over_tasks`."""

  def __init__(self, objective: Objective):
    self.objective = objective

  def __call__(self, params, batch, view):
    values, aux = self._over_tasks(lambda part, seen: self.objective(params, part, seen), batch, view)
    return values, self._aux(aux, batch)

  def rows(self, params, batch, view, embed=lambda params: params):
    """(values f[T], aux, gradients [T, ...]); `embed` puts the sub-tree that is differentiated into its place."""

    def one(part, seen):
      return jax.value_and_grad(lambda p: self.objective(embed(p), part, seen), has_aux=True)(params)

    (values, aux), gradients = self._over_tasks(one, batch, view)
    return values, self._aux(aux, batch), gradients

  def _over_tasks(self, f, batch, view):
    valid = jnp.asarray(batch["valid"], bool)
    if valid.ndim != 2:
      raise ValueError(f"a role of several tasks needs valid as bool[T, B], got shape {valid.shape}")
    one = lambda part, key: f(part, view._replace(rng=key))

    def in_turn(batch, keys):  # keeps a task's activations in the cache, and leaves out tasks without examples
      parts = jax.eval_shape(lambda tree: jax.tree.map(lambda x: x[0], tree), (batch, keys))
      nothing = lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, *parts))
      return jax.lax.map(lambda item: jax.lax.cond(item[0]["valid"].any(), one, nothing, *item), (batch, keys))

    keys = jax.random.split(view.rng, valid.shape[0])
    return jax.lax.platform_dependent({**batch, "valid": valid}, keys, cpu=in_turn, default=jax.vmap(one))

  def _aux(self, aux, batch):
    if jax.tree.leaves(aux.get("state", ())):
      raise ValueError("an objective under per_task must not return a model state: build it with train=False")
    rest = {k: v for k, v in aux.items() if k not in ("state", "weight")}
    return {**rest, "valid": jnp.asarray(batch["valid"], bool).any(axis=-1)}


def per_task(objective: Objective) -> Objective:
  """One loss a task, f[T], from a role batch whose arrays carry a leading task axis: [T, B, ...].

  Randomness is split over tasks. `aux["valid"]`, bool[T], says which tasks have any valid row: combiners must ignore
  the others, whose gradients are made zero by `descend`.

  Raises:
    ValueError: an objective that returns a new model state, which T tasks cannot share: build it with train=False.

  Example:
    >>> from unlearnjax.core.types import View
    >>> from unlearnjax.objectives.bind import mean
    >>> loss = lambda params, batch, view: mean(batch["y"] * params, batch)
    >>> batch = {"y": jnp.array([[1.0, 3.0], [5.0, 5.0]]), "valid": jnp.array([[True, True], [False, False]])}
    >>> view = View(jnp.array(0), jax.random.key(0), {}, {}, ())
    >>> values, aux = per_task(loss)(jnp.array(1.0), batch, view)
    >>> values.tolist(), aux["valid"].tolist()
    ([2.0, 0.0], [True, False])
  """

  return PerTask(objective)
