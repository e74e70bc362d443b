"""Prune first, then unlearn. Jia et al., NeurIPS 2023, arXiv:2304.04934 (paper 14)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from unlearnjax import edits
from unlearnjax.core import Method, Model, ModelFn, Verbs, as_examples, check
from unlearnjax.core.types import Array
from unlearnjax.methods.classification.fine_tune import fine_tune


def prune_first(
  method: Method | None = None,
  *,
  sparsity: float = 0.95,
  score: str = "magnitude",
  where: Callable[[str, Array], bool] | None = None,
) -> Method:
  """Removes most weights, then runs another method on those that are left: a sparse model forgets more easily.

  theta_o <- theta_o * m, then the method on f(theta * m): removed weights get no gradient, from any objective and under
  any optimizer, and are served as exact zeros. The mask travels with the state of the model, so the method needs to
  know nothing of it; teachers that it takes are pruned too, random ones it draws are dense.

  Args:
    method: runs on the pruned model; any that serves the weights it trains. `fine_tune()` by default.
    sparsity: fraction removed of the weights that may be pruned, in [0, 1); exactly ceil((1 - sparsity) n) stay.
    score: "magnitude" (one shot, over all layers together) or "synflow" (100 rounds, needs no data).
    where: `(path, leaf) -> bool`, which leaves may be pruned; by default the convolution kernels, as in the paper, or
      all kernels in a model without convolutions.

  Raises:
    ValueError: sparsity or score out of range, a method that cannot forget or does not serve the weights it trains, or
      what the method itself raises.

  Example:
    >>> prune_first(sparsity=0.9, score="synflow").name
    'prune_first'
  """
  check.fraction("sparsity", sparsity, zero=True, one=False)
  check.one_of("score", score, ("magnitude", "synflow"))
  method = fine_tune() if method is None else method

  def bind(fn: ModelFn) -> Verbs:
    masked = Masked(fn)
    inner = method.bind(masked)
    if inner.forget is None:
      raise ValueError(f"prune_first needs a method that forgets, and {method.name} does not")

    def init(model, key):
      return inner.init(Model(model.params, unpruned(model), {}, masked), key)

    def model(state, refs):
      served = inner.model(state, refs)
      if served.fn != masked:
        raise ValueError(f"prune_first needs a method that serves the weights it trains, and {method.name} does not")
      return Model(edits.apply_mask(served.params, served.state["mask"]), served.state["model"], served.refs, fn)

    def forget(state, refs, request, run):
      make = lambda: mask_of(fn, state.params, state.model_state["model"], request.forget, sparsity, score, where)
      mask = run.once("mask", make)
      sparse = Model(edits.apply_mask(state.params, mask), {**state.model_state, "mask": mask}, {}, masked)
      start, refs = inner.init(sparse, state.rng)
      return inner.forget(start.replace(step=state.step), refs, request, run.scope(method.name))

    return Verbs(init, model, forget=forget)

  return Method("prune_first", bind)


@dataclasses.dataclass(frozen=True)
class Masked:
  """`fn` at `params * state["mask"]`; the state of `fn` itself is `state["model"]`."""

  fn: ModelFn

  def __call__(self, params, inputs, *, state, **kwargs):
    out = self.fn(edits.apply_mask(params, state["mask"]), inputs, state=state["model"], **kwargs)
    return out.replace(state={"model": out.state, "mask": state["mask"]})

  def init(self, key) -> Model:
    model = self.fn.init(key)
    return Model(model.params, unpruned(model), {}, self)

  def __getattr__(self, name):  # sites and example inputs, where the model has them
    if name == "fn":
      raise AttributeError(name)
    return getattr(self.fn, name)


def unpruned(model: Model):
  """The state of a masked model that keeps every weight."""
  return {"model": model.state, "mask": jax.tree.map(lambda p: jnp.ones(p.shape, bool), model.params)}


def mask_of(fn, params, state, source, sparsity, score, where):
  """A tree of bool arrays like `params`: True for the weights that stay."""
  if where is None:
    convolutions = [edits.conv_kernel("kernel", leaf) for leaf in jax.tree.leaves(params)]
    where = edits.conv_kernel if any(convolutions) else edits.any_kernel
  if score == "magnitude":
    return edits.magnitude_mask(params, sparsity, where)
  shape = as_examples(source).columns["x"].shape[1:]
  return edits.synflow_mask(fn, params, shape, sparsity, where, state=state)
