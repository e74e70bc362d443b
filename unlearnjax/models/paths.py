"""Parameters by name, and layers in the order in which the model calls them."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from unlearnjax.core import tree as trees
from unlearnjax.core.types import Array, ArrayTree, Model, Params
from unlearnjax.models import calling, sites


def leaf_paths(tree: ArrayTree) -> list[str]:
  """Names of all leaves, `blocks/0/conv/kernel`, in leaf order.

  Example:
    >>> leaf_paths({"head": {"kernel": 1, "bias": 2}})
    ['head/bias', 'head/kernel']
  """
  return trees.paths(tree)


def select(tree: ArrayTree, regex: str) -> ArrayTree:
  """A mask with the structure of `tree`: True where `regex` matches the whole name of the leaf.

  Raises:
    ValueError: the expression is not valid, or matches no leaf.

  Example:
    >>> select({"head": {"kernel": 1, "bias": 2}}, "head/k.*")
    {'head': {'bias': False, 'kernel': True}}
  """
  return trees.matching(tree, regex)


def replace_where(mask: ArrayTree, a: ArrayTree, b: ArrayTree) -> ArrayTree:
  """Leaves of `a` where `mask` is true and of `b` elsewhere.

  Args:
    mask: booleans or boolean arrays that broadcast against the leaves, with the structure of `a` and `b`.

  Example:
    >>> replace_where({"w": True, "b": False}, {"w": 1, "b": 2}, {"w": -1, "b": -2})
    {'b': -2, 'w': 1}
  """

  def leaf(m: bool | Array, x: Array, y: Array) -> Array:
    if isinstance(m, bool):
      return x if m else y
    return jnp.where(m, x, y)

  return jax.tree.map(leaf, mask, a, b)


def module_order(model: Model, inputs: ArrayTree | None = None) -> tuple[str, ...]:
  """Paths of the submodules that own parameters, in the order in which the forward pass first calls them.

  The order is observed: one abstract forward pass with an injection at every such submodule that changes nothing and
  notes its turn. Parameters of the outermost module (position embeddings, a class token) belong to no submodule.

  Args:
    model: of an adapter that knows its sites (`from_nnx`, `from_linen`); only shapes count.
    inputs: an input, or a mapping of inputs, of which only shapes count; by default those that the adapter was given.

  Raises:
    ValueError: a model function without sites, or neither inputs nor example inputs.

  Example:
    >>> from unlearnjax.models import make
    >>> model = make("mlp", input_shape=(4,), num_outputs=2, widths=(8, 8)).init(jax.random.key(0))
    >>> module_order(model)
    ('blocks/0/linear', 'blocks/1/linear', 'head')
  """
  known = getattr(model.fn, "sites", None)
  if known is None:
    raise ValueError(
      f"the order of the layers of a {type(model.fn).__name__} cannot be observed: write it down instead"
    )
  example = getattr(model.fn, "example", None) if inputs is None else calling.columns(inputs)
  if example is None:
    raise ValueError("module_order needs inputs: pass an example batch, or give example_inputs to the adapter")
  owners = dict.fromkeys(name.rpartition("/")[0] for name in leaf_paths(model.params))
  order: dict[str, None] = {}

  def note(owner: str):
    def unchanged(h):
      order[owner] = None
      return h

    return unchanged

  inject = {owner + sites.INPUT: note(owner) for owner in owners if owner in known}
  forward = lambda params, state, x: model.fn(params, x, state=state, inject=inject).logits
  jax.eval_shape(forward, model.params, model.state, calling.abstract(example))
  return tuple(order)


def last_k_modules(params: Params, k: int, order: Sequence[str]) -> ArrayTree:
  """A mask of the parameters of the last `k` layers with weights, of `CF-k` and `EU-k` (Goel et al., arXiv:2201.06640).

  Layers with weights (a leaf of two or more dimensions: convolutions, linear maps) count; normalisation layers do not,
  and are free when they come after the first free layer. k = all frees everything, also parameters outside layers.

  Args:
    params: nested dicts of one model (without a leading axis of seeds).
    k: from 1 to the number of layers with weights.
    order: the submodules in forward order, from `module_order(model)`.

  Raises:
    ValueError: k out of range, or an order that names no parameters.

  Example:
    >>> from unlearnjax.models import make
    >>> model = make("mlp", input_shape=(4,), num_outputs=2, widths=(8, 8)).init(jax.random.key(0))
    >>> mask = last_k_modules(model.params, 2, module_order(model))
    >>> [name for name, free in zip(leaf_paths(mask), jax.tree.leaves(mask)) if free]
    ['blocks/1/linear/bias', 'blocks/1/linear/kernel', 'head/bias', 'head/kernel']
  """
  named = list(zip(leaf_paths(params), jax.tree.leaves(params)))
  owners = {name.rpartition("/")[0] for name, _ in named}
  unknown = [path for path in order if path not in owners]
  if unknown:
    raise ValueError(f"order names {unknown}, which own no parameters; those that do: {sorted(owners)}")
  weighty = {name.rpartition("/")[0] for name, leaf in named if jnp.ndim(leaf) >= 2}
  layers = [path for path in order if path in weighty]
  if not 1 <= k <= len(layers):
    raise ValueError(f"k must be from 1 to {len(layers)}, the number of layers with weights, got {k}")
  free = set(order[list(order).index(layers[-k]) :])
  hits = [k == len(layers) or name.rpartition("/")[0] in free for name, _ in named]
  return jax.tree.unflatten(jax.tree.structure(params), hits)
