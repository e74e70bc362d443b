"""The ideal continual learner. Peng et al., ICML 2023 (paper 55)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from unlearnjax import curvature
from unlearnjax.core import Method, ModelFn, UnlearnState, Verbs, as_examples, check, plain_model, role_batch
from unlearnjax.memory import Solutions, narrowed


def ideal(*, capacity: int, slack: float = 1e-5, relax: bool = False, target: str = "y") -> Method:
  """Learns each task among the weights that minimise all tasks before it, and so forgets none: an oracle.

  For models that are linear in their weights, such as `curvature.linearize` makes of any network, and squared errors.
  K_t = argmin of task t over K_{t-1}; the weights are those of K_t that are nearest to where learning started. It keeps
  a basis of the gradients of all outputs on all examples, in the weights' number of columns: for small models.

  Args:
    capacity: rows of the basis, at least the rank of all tasks together (at most examples times outputs).
    slack: error that may be left on a new task, see `memory.narrowed`.
    relax: goes on where tasks have no common minimiser, and forgets nothing all the same.
    target: column of targets, f[n, C] or f[n]; integers are labels, and learned as one-hot rows.

  Raises:
    ValueError: when learning: a model that is not linear, tasks without a common minimiser, or a basis that is full.

  Example:
    >>> ideal(capacity=100).name
    'ideal'
  """
  check.positive("capacity", capacity)

  def bind(fn: ModelFn) -> Verbs:
    @jax.jit
    def answers(params, state, refs, inputs):
      return fn(params, inputs, state=state, refs=refs, train=False).logits

    @jax.jit
    def jacobian(params, state, refs, inputs):  # f[n * C, p]
      tree = curvature.logit_jacobian(fn, params, inputs, state=state, refs=refs)
      return jax.vmap(jax.vmap(lambda leaf: ravel_pytree(leaf)[0]))(tree).reshape(-1, ravel_pytree(params)[0].size)

    def init(model, key):
      flat, _ = ravel_pytree(model.params)
      slots = {"span": jnp.zeros((capacity, flat.size), flat.dtype), "rank": jnp.zeros((), jnp.int32)}
      return UnlearnState.create(model.params, rng=key, model_state=model.state, slots=slots), {}

    def learn(state, refs, task, run):
      data = as_examples(task.train)
      given = (state.model_state, dict(refs), role_batch(data)["inputs"])
      double = lambda x: np.asarray(x, np.float64)
      said, rows = double(answers(state.params, *given)), double(jacobian(state.params, *given))
      wanted = targets(data.column(target), said.shape[-1])
      if wanted.shape != said.shape:
        raise ValueError(f"column {target!r} must give targets of shape {said.shape}, got {wanted.shape}")
      run.cost.gradient_evaluations += said.size
      flat, unravel = ravel_pytree(state.params)
      span = double(state.slots["span"])[: int(state.slots["rank"])]
      start = Solutions(np.zeros((flat.size, 1)), span)
      found = narrowed(start, rows, (wanted - said).ravel(), slack=slack, relax=relax)
      rank, step = len(found.span), found.point[:, 0]
      if rank > capacity:
        raise ValueError(f"task {task.name!r} needs capacity={rank} rows, and ideal was made for {capacity}")
      params = unravel(jnp.asarray(double(flat) + step, flat.dtype))
      off = np.abs(double(answers(params, *given)) - said - (rows @ step).reshape(said.shape)).max()
      if off > 1e-3 * max(1.0, np.abs(wanted - said).max()):
        raise ValueError("ideal needs a model that is linear in its weights, such as curvature.linearize makes of any")
      full = np.concatenate([found.span, np.zeros((capacity - rank, flat.size))])
      return state.replace(params=params, slots={"span": jnp.asarray(full, flat.dtype), "rank": jnp.int32(rank)}), refs

    return Verbs(init, plain_model(fn), learn=learn)

  return Method("ideal", bind)


def targets(column: np.ndarray, classes: int) -> np.ndarray:
  """f64[n, C]: targets as they are, labels as one-hot rows.

  Example:
    >>> targets(np.array([1, 0]), 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
  """
  column = np.asarray(column)
  if column.ndim == 1 and np.issubdtype(column.dtype, np.integer):
    return np.eye(classes)[column]
  return np.asarray(column, np.float64).reshape(len(column), -1)
