"""How much each weight matters: to the outputs, and to the decrease of a loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import ArrayTree, ModelFn, Params, Statistic
from unlearnjax.curvature.rows import sum_over_rows, zeros_f32


def output_sensitivity(fn: ModelFn, *, microbatch: int = 16) -> Statistic:
  """Mean over examples of |d |f(x)|^2 / d theta|: the importance of memory aware synapses.

  f(x) are the logits; the absolute value is taken for each example. Labels are not read. Aljundi et al., ECCV 2018,
  arXiv:1711.09601.

  Args:
    fn: the model, run in eval mode.
    microbatch: examples whose gradients are held at once; memory grows with it, the result does not change.

  Returns:
    a Statistic whose result is a tree like the parameters, >= 0.

  Example:
    >>> from unlearnjax.core.types import Model, Outputs
    >>> fn = lambda params, inputs, **_: Outputs(inputs["x"] @ params)
    >>> statistic, model = output_sensitivity(fn), Model(jnp.array([[1.0], [-1.0]]))
    >>> batch = {"inputs": {"x": jnp.array([[3.0, 1.0]])}, "valid": jnp.array([True])}
    >>> statistic.finish(statistic.update(statistic.init(model), model, batch, jax.random.key(0))).tolist()
    [[12.0], [4.0]]
  """
  check.positive("microbatch", microbatch)

  def init(model):
    return {"total": zeros_f32(model.params), "count": jnp.zeros(())}

  def update(acc, model, batch, rng):
    def square(params, row):
      out = fn(params, row["inputs"], state=model.state, refs=model.refs, train=False).logits
      return jnp.sum(jnp.square(out.astype(jnp.promote_types(out.dtype, jnp.float32))))

    of_row = lambda row, key: jax.tree.map(jnp.abs, jax.grad(square)(model.params, row))
    part = sum_over_rows(of_row, batch, rng, microbatch)
    total = jax.tree.map(lambda t, x: t + x.astype(t.dtype), acc["total"], part)
    return {"total": total, "count": acc["count"] + jnp.sum(batch["valid"])}

  def finish(acc):
    return jax.tree.map(lambda t: t / jnp.maximum(acc["count"], 1), acc["total"])

  return Statistic(init, update, finish, backward=1)


def synaptic_importance(path: ArrayTree, start: Params, end: Params, damping: float) -> ArrayTree:
  """max(w / ((end - start)^2 + damping), 0): a path integral per squared distance travelled (arXiv:1703.04200).

  Args:
    path: w, from `updates.path_integral`.
    start: weights before the task.
    end: weights after it.
    damping: xi > 0.

  Example:
    >>> synaptic_importance(jnp.array([2.0, -1.0]), jnp.zeros(2), jnp.array([1.0, 0.0]), 1.0).tolist()
    [1.0, 0.0]
  """
  check.positive("damping", damping)

  def leaf(w, a, b):
    travelled = b.astype(w.dtype) - a.astype(w.dtype)
    return jnp.maximum(w / (jnp.square(travelled) + damping), 0)

  return jax.tree.map(leaf, path, start, end)
