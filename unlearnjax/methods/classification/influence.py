"""Influence unlearning: one Newton step off the forget set, through a true inverse (baseline B5)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import curvature, edits, losses, objectives
from unlearnjax.core import (
  Examples,
  Method,
  ModelFn,
  RoleBatch,
  Verbs,
  as_examples,
  check,
  fold,
  need_retain,
  plain_init,
  plain_model,
  role_batch,
  view_model,
)
from unlearnjax.core.types import Array

SOLVERS = ("cg", "woodfisher")


def influence(
  *,
  alpha: float = 1.0,
  solver: str = "cg",
  damping: float | None = None,
  iterations: int = 50,
  max_examples: int = 1000,
  batch_size: int = 128,
  loss: Callable[[Array, Array], Array] = losses.cross_entropy,
  compat: str | None = None,
) -> Method:
  """theta <- theta + alpha H_R^-1 [(1/n) sum_F g - (|F| / (n |R|)) sum_R g], n = |F| + |R|. No training.

  g are gradients of the loss without its L2 term, in eval mode at the trained weights. It is the first-order effect of
  leaving F out (Koh & Liang, arXiv:1703.04730); for a loss that is quadratic in the weights it is retraining, exactly.

  H_R is the damped curvature of the mean retain loss, over at most `max_examples` retain examples drawn at random:
  "cg" takes the generalized Gauss-Newton matrix and solves by conjugate gradients, "woodfisher" the empirical Fisher
  matrix and its exact inverse, at the memory of a gradient an example.

  Args:
    alpha: length of the step; 0 changes nothing, and papers sweep it.
    solver: "cg" or "woodfisher".
    damping: added to the curvature, > 0: the L2 coefficient of the training, or more. 0.01 for "cg" and 1 for
      "woodfisher" by default.
    iterations: at most so many products of "cg".
    max_examples: retain examples that the curvature is taken of.
    batch_size: rows of a product with the curvature.
    loss: `(outputs, y) -> f[B]`, convex in the outputs for "cg".
    compat: "rank2", with "woodfisher" and damping 1, is a widespread implementation that keeps one vector in place of
      the matrix. It moves along the gradients, hardly through an inverse.

  Raises:
    ValueError: an unknown solver, numbers out of range, compat without "woodfisher", or a request without a retain set.

  Example:
    >>> influence(solver="woodfisher", compat="rank2").name
    'influence'
  """
  check.one_of("solver", solver, SOLVERS)
  damping = {"cg": 0.01, "woodfisher": 1.0}[solver] if damping is None else damping
  for name, value in (("damping", damping), ("iterations", iterations), ("max_examples", max_examples)):
    check.positive(name, value)
  check.positive("batch_size", batch_size)
  if compat is not None and (solver != "woodfisher" or compat != "rank2"):
    raise ValueError(f"compat must be None, or 'rank2' with solver='woodfisher'; got {compat!r} with {solver!r}")

  def bind(fn: ModelFn) -> Verbs:
    objective = objectives.supervised(fn, loss, train=False)
    total = curvature.gradient(objective, reduce="sum")

    @jax.jit
    def solve(model, batches, vector):
      view = objectives.eval_view(model, jax.random.key(0))
      if solver == "cg":
        product = lambda v: curvature.mean_ggn(fn, loss, model.params, batches, v, view)
        return curvature.cg_solve(product, vector, damping=damping, iterations=iterations)
      rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batches)
      gradients = curvature.per_example_gradients(objective, model.params, rows, view)
      count = jnp.sum(rows["valid"])
      return curvature.woodfisher(gradients, vector, damping=damping, count=count, compat=compat)

    def forget(state, refs, request, run):
      gone, retain = as_examples(request.forget), as_examples(need_retain("influence", request))
      model = view_model(fn, state)
      key = jax.random.fold_in(jax.random.fold_in(state.rng, 1), state.step)

      def removed():
        g_forget = fold(total, model, gone, run, name="gradient_forget")
        g_retain = fold(total, model, retain, run, name="gradient_retain")
        batches = stacked_batches(retain, max_examples, batch_size, key)
        inverse = lambda vector: solve(model, batches, vector)
        passes = iterations if solver == "cg" else 1
        run.cost.gradient_evaluations += passes * min(len(retain), max_examples)  # at most
        return edits.newton(state.params, g_forget, g_retain, inverse, len(gone), len(retain), alpha)

      return state.replace(params=run.once("removed", removed), step=state.step + 1), refs

    return Verbs(plain_init(), plain_model(fn), forget=forget)

  return Method("influence", bind)


def stacked_batches(source: Examples, max_examples: int, batch_size: int, key: Array) -> RoleBatch:
  """At most `max_examples` random rows as a role batch [K, B, ...], padded to a size that nearby sources share.

  Example:
    >>> data = Examples({"x": np.zeros((5, 2), np.float32)})
    >>> batches = stacked_batches(data, 100, 4, jax.random.key(0))
    >>> batches["inputs"]["x"].shape, int(batches["valid"].sum())
    ((2, 4, 2), 5)
  """
  count = min(len(source), max_examples)
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
  rows = np.sort(rng.permutation(len(source))[:count])
  size = min(1 << (count - 1).bit_length(), max_examples)
  batch_size = min(batch_size, size)
  size = -(-size // batch_size) * batch_size
  batch = role_batch(source, np.pad(rows, (0, size - count)))
  batch = {**batch, "valid": jnp.arange(size) < count}
  return jax.tree.map(lambda x: x.reshape(size // batch_size, batch_size, *x.shape[1:]), batch)
