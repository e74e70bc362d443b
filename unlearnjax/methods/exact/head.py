"""A linear model on the frozen features of another: the part of a network that guarantees can be given for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import losses
from unlearnjax.core import Examples, Model, ModelFn, Outputs, Run, UnlearnState, as_examples, outputs, view_model
from unlearnjax.core.tree import get_path, set_path
from unlearnjax.core.types import EMPTY, Array, Params


def linear(params: Params, inputs: Any, **_) -> Outputs:
  """x @ kernel (+ bias), x = inputs["x"]: the head as a model of its own."""
  logits = inputs["x"] @ params["kernel"]
  return Outputs(logits + params["bias"] if "bias" in params else logits)


def path_of(site: str) -> tuple[str, ...]:
  """Where the layer lies whose input is `site`: "head:in" -> ("head",).

  Example:
    >>> path_of("head:in")
    ('head',)
  """
  return tuple(site.partition(":")[0].split("/"))


def head_of(params: Params, site: str) -> Params:
  """The layer's weights. Raises ValueError for a layer that is not linear: kernel f[d, C], bias f[C] or none."""
  head = get_path(params, path_of(site))
  shapes = {name: jnp.shape(leaf) for name, leaf in head.items()} if isinstance(head, dict) else {}
  if not set(shapes) <= {"kernel", "bias"} or len(shapes.get("kernel", ())) != 2:
    raise ValueError(f"site {site!r} must be the input of a linear layer with kernel f[d, C], found {shapes}")
  return {name: head[name] for name in sorted(head)}


def with_head(state: UnlearnState, site: str, head: Params) -> UnlearnState:
  """The state with other weights in the layer."""
  return state.replace(params=set_path(state.params, path_of(site), dict(head)), step=state.step + 1)


def features(fn: ModelFn, state: UnlearnState, source: Examples, run: Run, site: str) -> Examples:
  """What the layer is given on `source`, in eval mode, as a table with the columns x f[n, d], y and id."""
  source = as_examples(source)
  x = outputs(view_model(fn, state), source, run, capture=(site,), name="features")[site]
  x = x.reshape(len(x), -1).astype(jax.tree.leaves(head_of(state.params, site))[0].dtype)
  return Examples({"x": x, "y": source.column("y"), "id": source.ids})


def split_features(fn, state, gone: Examples, kept: Examples, run: Run, site: str) -> tuple[Examples, Examples]:
  """Features of the forget and of the retain set, as selections of one table."""
  table = features(fn, state, as_examples(gone) + as_examples(kept), run, site)
  return table[: len(gone)], table[len(gone) :]


def full_batch(source: Examples) -> int:
  """A batch size that holds all rows and that sources of nearby sizes share."""
  return 1 << max(len(source) - 1, 0).bit_length()


def with_ones(x: Array, head: Params) -> Array:
  """f[n, d + 1] with a column of ones where the head has a bias: the input of the linear map."""
  return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1) if "bias" in head else x


def as_matrix(head: Params) -> Array:
  """Kernel above bias, f[d + 1, C]: what `with_ones` is multiplied by."""
  return jnp.concatenate([head["kernel"], head["bias"][None]]) if "bias" in head else head["kernel"]


def one_hot_targets(outputs: Array, targets: Array) -> Array:
  """Integer labels as rows of the identity, other targets as they are, in the shape of the outputs."""
  if jnp.issubdtype(targets.dtype, jnp.integer) and targets.ndim == 1:
    return jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
  return targets.reshape(outputs.shape)


def logistic(outputs: Array, targets: Array) -> Array:
  """One logistic regression a class: sum_c -log s(+-z_c), + where c is the label. f[B]."""
  return outputs.shape[-1] * losses.binary_cross_entropy(outputs, one_hot_targets(outputs, targets))


def squares(outputs: Array, targets: Array) -> Array:
  """Half the squared error, summed over outputs. f[B]."""
  return outputs.shape[-1] / 2 * losses.squared_error(outputs, one_hot_targets(outputs, targets))


class ClippedFn:
  """A model whose layer sees no input longer than `radius`: x -> x min(1, radius / |x|) at `site`."""

  def __init__(self, fn: ModelFn, site: str, radius: float):
    self.fn, self.site, self.radius = fn, site, radius

  def __call__(self, params, inputs, *, inject=EMPTY, **options) -> Outputs:
    first: Callable[[Array], Array] = inject.get(self.site, lambda x: x)
    return self.fn(params, inputs, inject={**inject, self.site: lambda x: clip_rows(first(x), self.radius)}, **options)

  def init(self, key: Array) -> Model:
    model = self.fn.init(key)
    return Model(model.params, model.state, model.refs, self)


def clip_rows(x: Array, radius: float) -> Array:
  """Rows of norm at most `radius`; shorter ones stay.

  Example:
    >>> jnp.allclose(clip_rows(jnp.array([[3.0, 4.0], [0.0, 0.5]]), 1.0), jnp.array([[0.6, 0.8], [0.0, 0.5]])).item()
    True
  """
  norm = jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True))
  return x * jnp.minimum(1.0, radius / jnp.maximum(norm, np.finfo(np.float32).tiny)).astype(x.dtype)
