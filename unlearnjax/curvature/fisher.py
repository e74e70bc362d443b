"""The diagonal of the Fisher information, in its five meanings."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax import kernels, losses
from unlearnjax.core import check
from unlearnjax.core.types import ModelFn, Objective, Statistic
from unlearnjax.curvature.rows import gradient_of, sum_over_rows, zeros_f32
from unlearnjax.objectives.bind import eval_view

KINDS = ("per_sample", "batch_mean", "model_sampled", "expected", "true_label")


def fisher_diag(
  of: Objective | ModelFn, *, kind: str = "per_sample", batch_size: int | None = None, microbatch: int = 16
) -> Statistic:
  """Diagonal of the Fisher information, one number a weight.

  The literature gives one name to several quantities; results differ in kind, not in noise.

  * "per_sample": mean over examples of (gradient of the example's loss)^2, the empirical Fisher.
  * "batch_mean": mean over batches of (gradient of the batch mean)^2, the importance of selective synaptic dampening
    (arXiv:2308.07707). It shrinks as batches grow, and equals "per_sample" at batch size 1.
  * "model_sampled": as per_sample, with a label drawn from the model's own distribution for each example.
  * "expected": the exact expectation of the former, mean over examples of sum_c p_c (gradient of -log p_c)^2, at the
    cost of a backward pass a class (Fisher forgetting, arXiv:1911.04933).
  * "true_label": of that sum only the term of the true label, p_y (gradient of -log p_y)^2: examples that the model
    already gets wrong hardly count. Online EWC in the library mammoth, and refresh learning.

  Args:
    of: an objective built with train=False for the kinds "per_sample", "batch_mean" and "true_label", where it must be
      a negative log likelihood; the model function, a classifier, for the others.
    kind: one of the above.
    batch_size: rows of a batch; required for "batch_mean", where it is part of the definition.
    microbatch: examples whose gradients are held at once; memory grows with it, the result does not change.

  Returns:
    a Statistic whose result is a tree like the parameters, >= 0, float32 or wider.

  Raises:
    ValueError: unknown kind, or "batch_mean" without a batch size.

  Example:
    >>> from unlearnjax.core.types import Model
    >>> from unlearnjax.objectives import mean
    >>> objective = lambda params, batch, view: mean(params["w"] * batch["y"], batch)
    >>> model = Model({"w": jnp.ones(())})
    >>> batch = {"y": jnp.array([1.0, 3.0]), "valid": jnp.array([True, True])}
    >>> for kind in ("per_sample", "batch_mean"):
    ...   statistic = fisher_diag(objective, kind=kind, batch_size=2)
    ...   acc = statistic.update(statistic.init(model), model, batch, jax.random.key(0))
    ...   print(kind, float(statistic.finish(acc)["w"]))
    per_sample 5.0
    batch_mean 4.0
  """
  check.one_of("kind", kind, KINDS)
  check.positive("microbatch", microbatch)
  if kind == "batch_mean" and batch_size is None:
    raise ValueError("fisher_diag(kind='batch_mean') depends on the batch size: give batch_size=")

  def init(model):
    return {"total": zeros_f32(model.params), "count": jnp.zeros(())}

  def update(acc, model, batch, rng):
    if kind == "batch_mean":
      found, _ = gradient_of(of, model.params, batch, eval_view(model, rng))
      any_row = jnp.any(batch["valid"]).astype(jnp.float32)
      total = kernels.accumulate_square(acc["total"], found, any_row)
      return {"total": total, "count": acc["count"] + any_row}
    square = _SQUARES[kind](of, model)
    part = sum_over_rows(square, batch, rng, microbatch)
    total = jax.tree.map(lambda t, x: t + x.astype(t.dtype), acc["total"], part)
    return {"total": total, "count": acc["count"] + jnp.sum(batch["valid"])}

  def finish(acc):
    return jax.tree.map(lambda t: t / jnp.maximum(acc["count"], 1), acc["total"])

  return Statistic(init, update, finish, backward=1, batch_size=batch_size)


def _square(tree):
  return jax.tree.map(lambda g: jnp.square(g.astype(jnp.promote_types(g.dtype, jnp.float32))), tree)


def _empirical(objective, model):
  return lambda row, key: _square(gradient_of(objective, model.params, row, eval_view(model, key))[0])


def _true_label(objective, model):
  def square(row, key):
    view = eval_view(model, key)
    found, _ = gradient_of(objective, model.params, row, view)
    likelihood = jnp.exp(-objective(model.params, row, view)[0])  # the compiler shares the forward pass
    return jax.tree.map(lambda x: likelihood * x, _square(found))

  return square


def _logits(fn, model, row):
  return lambda params: fn(params, row["inputs"], state=model.state, refs=model.refs, train=False).logits


def _sampled(fn, model):
  def square(row, key):
    logits = _logits(fn, model, row)
    label = jax.random.categorical(key, losses.shapes.at_least_f32(logits(model.params)))
    return _square(jax.grad(lambda params: losses.cross_entropy(logits(params), label)[0])(model.params))

  return square


def _expected(fn, model):
  def square(row, key):
    del key
    logits, pull = jax.vjp(_logits(fn, model, row), model.params)
    probs = jax.nn.softmax(losses.shapes.at_least_f32(logits[0]))

    def of_class(total, c):  # the gradient of -log p_c in the logits is p - e_c
      slope = probs - (jnp.arange(probs.size) == c)
      return jax.tree.map(
        lambda t, x: t + probs[c] * x, total, _square(pull(slope[None].astype(logits.dtype))[0])
      ), None

    return jax.lax.scan(of_class, zeros_f32(model.params), jnp.arange(probs.size))[0]

  return square


_SQUARES = {"per_sample": _empirical, "model_sampled": _sampled, "expected": _expected, "true_label": _true_label}
