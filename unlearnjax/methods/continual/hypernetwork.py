"""Continual learning with hypernetworks. von Oswald et al., ICLR 2020, arXiv:1906.00695 (paper 121)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import objectives, reparam, updates
from unlearnjax.core import Method, ModelFn, Verbs, check, descend
from unlearnjax.methods.continual.parts import check_room, learner, own_classes
from unlearnjax.methods.over import over, with_refs
from unlearnjax.methods.parts import restart
from unlearnjax.models.heads import seen_classes


def hypernetwork(
  *,
  tasks: int = 5,
  beta: float = 0.01,
  lookahead: bool = True,
  net: reparam.Hypernet | None = None,
  infer_task: bool = False,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 128,
  every: int | None = None,
) -> Method:
  """A network writes the weights of every task from its embedding, and keeps writing those of earlier tasks.

  CE(f(x; h(e_t, theta))) + beta / (t - 1) sum_{j < t} |h(e_j, theta*) - h(e_j, theta + dtheta)|^2, theta* as it was
  before the task and dtheta the step that the optimizer would make for the first term alone. Only e_t is trained, by
  the first term; earlier embeddings are fixed. The optimizer starts afresh with every task.

  The served model takes `inputs["task"]`, or finds it: the task whose prediction has the smallest entropy.

  Args:
    tasks: capacity.
    beta: >= 0; the regularizer is a sum over all weights, so beta belongs to a size of the target.
    lookahead: False evaluates the regularizer at theta; its gradient is then zero at the first step of a task.
    net: from `reparam.hypernet(tasks, ...)`; two hidden layers of 50 and chunks of 2000 by default.
    infer_task: serves the model that finds the task.
    tx: optimizer, Adam 1e-3 by default.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: beta < 0, a net for another number of tasks; when learning, more tasks than `tasks`.

  Example:
    >>> hypernetwork(tasks=3, beta=0.05).name
    'hypernetwork'
  """
  check.positive("beta", beta, zero=True)
  net = reparam.hypernet(tasks, chunk=2000) if net is None else net
  if net.tasks != tasks:
    raise ValueError(f"net was made for {net.tasks} tasks, and tasks is {tasks}")
  tx = optax.adam(1e-3) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    bound, penalty = net.bind(fn), reparam.hypernet_regularizer(net, seen="task")
    penalize = updates.lookahead if lookahead else updates.penalized
    chain = optax.chain(penalize(tx, penalty, beta), updates.mask_by("trained"))
    own_head = seen_classes(reparam.at_task(bound), "now")
    step = descend({"current": objectives.cross_entropy(own_head)}, chain, state_from="current")

    def first(model, key):
      everything = jax.tree.map(lambda p: jnp.ones(p.shape, bool), model.params)
      return {"snapshot": {"params": model.params}, "trained": everything}

    def before(state, refs, task, run):
      check_room("hypernetwork", task, tasks)
      embedding = jnp.zeros_like(refs["trained"]["tasks"]).at[task.index].set(True)
      refs = own_classes(refs, task, tasks) | {
        "snapshot": {"params": state.params},
        "trained": {**refs["trained"], "tasks": embedding},
      }
      return restart(state, step), refs

    served = reparam.by_entropy(bound, tasks, seen="known", classes="classes") if infer_task else bound
    model = with_refs(served, net.ref, "known", "classes")
    settings = dict(epochs=epochs, batch_size=batch_size, every=every, watched=served)
    return over(net, learner(bound, step, refs=first, before=before, model=model, **settings))

  return Method("hypernetwork", bind)
