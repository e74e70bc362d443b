"""OGD: orthogonal gradient descent. Farajtabar et al., AISTATS 2020, arXiv:1910.07104 (baseline B8)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from unlearnjax import combine, curvature, objectives
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, view_model
from unlearnjax.methods.continual.parts import check_room, chosen, learner, open_head, padded_batch


def ogd(
  *,
  memory_per_task: int = 100,
  tasks: int = 20,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """Steps that leave what the network answers on remembered examples as it is, to first order.

  g - B B^T g, B an orthonormal basis of the gradients of the true class's logit on `memory_per_task` random examples of
  each task, taken when the task is over. The basis costs tasks * memory_per_task copies of the weights.

  Args:
    memory_per_task: gradients of each task.
    tasks: room for so many.
    tx: plain SGD, 0.1 by default: momentum and adaptive rates leave the subspace.
    epochs: passes over each task.
    batch_size: rows of a step.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: at `learn`, more tasks than there is room for.

  Example:
    >>> ogd(memory_per_task=20, tasks=5).name
    'ogd'
  """
  return orthogonal("ogd", memory_per_task, memory_per_task, tasks, tx, epochs, batch_size, every)


def orthogonal(name, keep, sampled, tasks, tx, epochs, batch_size, every) -> Method:
  """OGD with `keep` directions a task out of the gradients of `sampled` examples."""
  tx = optax.sgd(0.1) if tx is None else tx
  check.positive("memory_per_task", keep)
  check.positive("tasks", tasks)

  def bind(fn: ModelFn) -> Verbs:
    step = descend(
      {"current": objectives.cross_entropy(open_head(fn))},
      tx,
      combine=combine.ogd(orthonormal=True, basis="basis"),
      state_from="current",
    )
    true_logit = objectives.supervised(fn, lambda z, y: jnp.take_along_axis(z, y[:, None], 1)[:, 0], train=False)

    @jax.jit
    def extended(basis, model, batch, index, key):
      view = objectives.eval_view(model, key)
      rows = curvature.per_example_gradients(true_logit, model.params, batch, view)
      flat = lambda tree: jax.vmap(lambda row: ravel_pytree(row)[0])(tree).astype(jnp.float32)
      found = new_directions(flat(basis), flat(rows), keep)
      unravel = ravel_pytree(model.params)[1]
      new = jax.vmap(unravel)(found)
      put = lambda old, rows: jax.lax.dynamic_update_slice_in_dim(old, rows.astype(old.dtype), index * keep, 0)
      return jax.tree.map(put, basis, new)

    def zeros(model, key):
      return {"basis": jax.tree.map(lambda p: jnp.zeros((tasks * keep, *p.shape), jnp.float32), model.params)}

    def before(state, refs, task, run):
      check_room(name, task, tasks)
      return state, refs

    def after(state, refs, task, run):
      batch = padded_batch(chosen(task, sampled, state.rng), sampled)
      basis = run.once("basis", lambda: extended(refs["basis"], view_model(fn, state), batch, task.index, state.rng))
      run.cost.gradient_evaluations += sampled
      return state, {**refs, "basis": basis}

    return learner(fn, step, epochs=epochs, batch_size=batch_size, every=every, refs=zeros, before=before, after=after)

  return Method(name, bind)


def new_directions(basis, rows, keep: int):
  """At most `keep` orthonormal directions of the strongest part of the rows that is orthogonal to the basis.

  All of them where there are no more rows than that, otherwise the leading right singular vectors of the residual; rows
  of zeros where there are fewer.

  Args:
    basis: f32[K, p], orthonormal rows and rows of zeros.
    rows: f32[n, p].
    keep: m.

  Returns:
    f32[m, p].

  Example:
    >>> basis = jnp.array([[1.0, 0.0, 0.0]])
    >>> jnp.abs(new_directions(basis, jnp.array([[3.0, 2.0, 0.0], [1.0, 0.0, 0.0]]), 2)).round(4).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
  """
  residual = rows
  for _ in range(2):  # twice is enough in float32
    residual = residual - (residual @ basis.T) @ basis
  scale = jnp.maximum(jnp.linalg.norm(rows, axis=1).max(), jnp.finfo(rows.dtype).tiny)
  residual = residual / scale
  values, vectors = jnp.linalg.eigh(residual @ residual.T)
  values, vectors = values[::-1][:keep], vectors[:, ::-1][:, :keep]
  kept = values > 1e-6
  found = jnp.where(kept[:, None], (vectors.T @ residual) / jnp.sqrt(jnp.where(kept, values, 1.0))[:, None], 0)
  found = jnp.pad(found, ((0, keep - found.shape[0]), (0, 0)))
  found = found - (found @ basis.T) @ basis
  q, r = jnp.linalg.qr(found.T)
  sign = jnp.where(jnp.diag(r) < 0, -1.0, 1.0)
  return jnp.where((jnp.abs(jnp.diag(r)) > 0.5)[:, None], (q * sign).T, 0.0)
