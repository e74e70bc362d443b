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
  tolerance: float = 1e-6,
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
    tolerance: "cg" stops at a residual of this share of the right-hand side.
    max_examples: retain examples that the curvature is taken of.
    batch_size: rows of a product with the curvature.
    loss: `(outputs, y) -> f[B]`, convex in the outputs for "cg".
    compat: "rank2", with "woodfisher" and damping 1, is a widespread implementation that keeps one vector in place of
      the matrix. It moves along the gradients, hardly through an inverse.

  Raises:
    ValueError: an unknown solver, numbers out of range, compat without "woodfisher", a request without a retain set, or
      a loss that is not convex in the outputs and shows "cg" a direction of negative curvature.

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
    def solve(model, batch, vector):
      view = objectives.eval_view(model, jax.random.key(0))
      if solver == "cg":
        product = lambda v: curvature.ggn_vp(fn, loss, model.params, batch, v, view, microbatch=batch_size)
        found, info = curvature.cg(product, vector, damping=damping, iterations=iterations, tolerance=tolerance)
        return found, info.indefinite
      gradients = curvature.per_example_gradients(objective, model.params, batch, view)
      count = jnp.sum(batch["valid"])
      found = curvature.woodfisher(gradients, vector, damping=damping, count=count, compat=compat)
      return found, jnp.array(False)

    def inverse(model, batch, vector):
      found, indefinite = solve(model, batch, vector)
      if indefinite:
        raise ValueError("influence: the curvature is not positive definite; loss must be convex in the outputs")
      return found

    def forget(state, refs, request, run):
      gone, retain = as_examples(request.forget), as_examples(need_retain("influence", request))
      model = view_model(fn, state)
      key = jax.random.fold_in(jax.random.fold_in(state.rng, 1), state.step)

      def removed():
        g_forget = fold(total, model, gone, run, name="gradient_forget")
        g_retain = fold(total, model, retain, run, name="gradient_retain")
        batch = sampled_batch(retain, max_examples, key)
        into = lambda vector: inverse(model, batch, vector)
        passes = iterations if solver == "cg" else 1
        run.cost.gradient_evaluations += passes * min(len(retain), max_examples)  # at most
        return edits.newton(state.params, g_forget, g_retain, into, len(gone), len(retain), alpha)

      return state.replace(params=run.once("removed", removed), step=state.step + 1), refs

    return Verbs(plain_init(), plain_model(fn), forget=forget)

  return Method("influence", bind)


def sampled_batch(source: Examples, max_examples: int, key: Array) -> RoleBatch:
  """At most `max_examples` random rows as a role batch, padded to a size that nearby sources share.

  Example:
    >>> batch = sampled_batch(Examples({"x": np.zeros((5, 2), np.float32)}), 100, jax.random.key(0))
    >>> batch["inputs"]["x"].shape, int(batch["valid"].sum())
    ((8, 2), 5)
  """
  count = min(len(source), max_examples)
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
  rows = np.sort(rng.permutation(len(source))[:count])
  size = min(1 << (count - 1).bit_length(), max_examples)
  batch = role_batch(source, np.pad(rows, (0, size - count)))
  return {**batch, "valid": jnp.arange(size) < count}
