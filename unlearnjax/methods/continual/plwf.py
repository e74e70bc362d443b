"""PLwF: progressive learning without forgetting. Feng et al., 2022 (paper 82), reconstructed from its abstract."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import combine, losses, objectives
from unlearnjax.core import Combiner, Method, ModelFn, Transform, Verbs, check, descend
from unlearnjax.methods.continual.parts import check_room, learner, open_head
from unlearnjax.methods.parts import teacher


def plwf(
  *,
  strength: float = 1.0,
  temperature: float = 2.0,
  classes: str = "all",
  project: bool = True,
  heads: int | None = None,
  tasks: int = 10,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Distils from the models after all earlier tasks, and lets learning not work against remembering.

  L_K = strength / (t - 1) sum_{k < t} KD(f_k(x), f(x)) on the new task's x, each teacher over classes that it knows. Of
  the gradient of CE the part against that of L_K is taken away where their inner product is negative; the step is on
  the sum. The abstract alone is certain: the form of both parts, and all constants, are a reading of it. A step costs a
  forward pass of every place for a task, and keeps as many copies of the weights.

  Args:
    strength: >= 0; 0 is sequential fine-tuning.
    temperature: T > 0.
    classes: "all" that a teacher has seen, or "new", those of its own last task.
    project: False takes the plain sum; with one earlier task that is `lwf`.
    heads: the number of tasks, for a model with one head a task (`stream.head(fn)`): each teacher is asked about the
      heads that it knows ("new": its last one), a forward pass each. None for one head over all classes.
    tasks: room for so many.
    tx: plain SGD, 0.1 by default: momentum would mix both gradients after the projection.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: arguments out of range; when learning, more tasks than there is room for.

  Example:
    >>> plwf(classes="new").name
    'plwf'
  """
  check.positive("strength", strength, zero=True)
  check.positive("temperature", temperature)
  check.one_of("classes", classes, ("all", "new"))
  check.positive("tasks", tasks)
  if heads is not None:
    check.positive("heads", heads)
  tx = optax.sgd(0.1) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    roles = {
      "current": objectives.cross_entropy(open_head(fn)),
      "past": objectives.scaled(many_teachers(fn, temperature, heads, newest=classes == "new"), strength),
    }
    step = descend(roles, tx, combine=without_conflict() if project else None, state_from="current")

    def first(model, key):
      empty = lambda x: jnp.zeros((tasks, *x.shape), x.dtype)
      return {"teachers": jax.tree.map(empty, teacher(model))}

    def before(state, refs, task, run):
      check_room("plwf", task, tasks)
      known = refs.get("known", jnp.zeros((tasks, len(refs["seen"])), bool))
      return state, {**refs, "known": known}

    def after(state, refs, task, run):
      put = lambda old, new: old.at[task.index].set(new)
      now = np.asarray(refs["seen"] & ~refs["old"])
      mine = refs["seen"] if classes == "all" or not now.any() else now
      teachers = jax.tree.map(put, refs["teachers"], teacher(state))
      return state, {**refs, "teachers": teachers, "known": put(refs["known"], mine)}

    settings = dict(epochs=epochs, batch_size=batch_size, every=every)
    return learner(fn, shared(step), refs=first, before=before, after=after, **settings)

  return Method("plwf", bind)


def many_teachers(fn: ModelFn, temperature: float, heads: int | None = None, newest: bool = False):
  """The mean over earlier tasks of the cross entropy to what the model after each said about classes it knew.

  With heads a sum over those of earlier tasks, of each the teachers that know it, or (`newest`) that ended with it.
  """

  def asked(params, batch, view, there, classes):
    """Sum over the teachers that are there, each about its row of classes."""
    logits = objectives.forward(fn, params, batch, view, train=True).logits
    ask = lambda one: objectives.frozen(fn, batch, view._replace(refs={**view.refs, "teacher": one}), "teacher").logits
    answers = jax.vmap(ask)(view.refs["teachers"])
    each = jax.vmap(lambda z, c: losses.distill_cross_entropy(logits, z, temperature, c))(answers, classes)
    return jnp.where(there[:, None], each, 0.0).sum(0)

  def objective(params, batch, view):
    known, count = view.refs["known"], view.refs["task"]
    index = jnp.arange(len(known))
    if heads is None:
      # a place without a teacher knows nothing: it is asked about all classes, and does not count
      total = asked(params, batch, view, index < count, jnp.where(known.any(1, keepdims=True), known, True))
    else:
      total = jnp.zeros(batch["valid"].shape)
      for t in range(heads):  # the head leaves its own classes
        mine = (index < count) & ((index == t) if newest else (index >= t))
        inputs = {**batch["inputs"], "task": jnp.full(batch["valid"].shape, t, jnp.int32)}
        total += asked(params, {**batch, "inputs": inputs}, view, mine, jnp.ones_like(known))
    return objectives.mean(total / jnp.maximum(count, 1), batch)

  return objective


def without_conflict(current: str = "current", past: str = "past") -> Combiner:
  """g_s + g_p, g_p without its part against g_s where <g_s, g_p> < 0.

  Example:
    >>> grads = {"current": jnp.array([-1.0, 1.0]), "past": jnp.array([2.0, 0.0])}
    >>> without_conflict().update(grads, (), None)[0].tolist()
    [2.0, 1.0]
  """
  one_sided = combine.agem(current=current, memory=past)

  def update(grads, state, params, **extra):
    new, state = one_sided.update(grads, state, params, **extra)
    return jax.tree.map(jnp.add, new, grads[past]), state

  return Combiner(one_sided.init, update)


def shared(step: Transform) -> Transform:
  """The new examples are also what old answers are compared on."""
  return Transform(step.init, lambda state, batch, refs: step.update(state, {**batch, "past": batch["current"]}, refs))
