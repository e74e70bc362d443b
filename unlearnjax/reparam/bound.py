"""Model functions over other parameters than the model's own, and how reparameterizations nest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from unlearnjax.core.tree import fold_name, paths
from unlearnjax.core.types import EMPTY, Array, Model, ModelFn, Outputs, Params, Refs, Reparam


@dataclasses.dataclass(frozen=True)
class Bound:
  """`fn` over phi: `fn(merge(phi, refs), inputs)`. What `Reparam.bind` returns; sites are those of `fn`."""

  fn: ModelFn
  merge: Callable[[Params, Refs], Params]
  start: Callable[[Array, Params], tuple[Params, Refs]]
  ref: str

  def __call__(self, params: Params, inputs: Mapping[str, Array], *, refs: Refs = EMPTY, **rest: Any) -> Outputs:
    return self.fn(self.merge(params, refs), inputs, refs=refs, **rest)

  def init(self, key: Array) -> Model:
    """A fresh model of the same architecture, with fresh phi over fresh weights."""
    model = self.fn.init(fold_name(key, "model"))
    phi, refs = self.start(fold_name(key, self.ref), model.params)
    return Model(phi, model.state, joined(model.refs, refs), self)

  def __getattr__(self, name: str) -> Any:
    if name.startswith("__") or name == "fn":
      raise AttributeError(name)
    return getattr(self.fn, name)


def bind_as(merge, start, ref: str) -> Callable[[ModelFn], ModelFn]:
  """`Reparam.bind` of those that rewrite the weights and nothing else.

  Raises:
    ValueError: when bound, for a function that already reads a ref of that name.
  """

  def bind(fn: ModelFn) -> ModelFn:
    refuse_twice(fn, ref)
    return Bound(fn, merge, start, ref)

  return bind


def refuse_twice(fn: ModelFn, ref: str) -> None:
  """Raises ValueError where a reparameterization below already reads `refs[ref]`."""
  while hasattr(fn, "ref") and hasattr(fn, "fn"):
    if fn.ref == ref:
      raise ValueError(f"two nested reparameterizations read refs[{ref!r}]: give one of them another ref=")
    fn = fn.fn


def read(refs: Refs, ref: str) -> Any:
  """`refs[ref]`, or an error that says who wrote it and what there is."""
  if ref not in refs:
    raise ValueError(
      f"refs has no {ref!r}, which Reparam.init returned beside phi: pass those refs on; found {sorted(refs)}"
    )
  return refs[ref]


def joined(*several: Refs) -> dict[str, Any]:
  """Refs in one mapping.

  Raises:
    ValueError: a name that occurs twice; one would silently replace the other.

  Example:
    >>> sorted(joined({"base": 1}, {"head": 2}))
    ['base', 'head']
  """
  found: dict[str, Any] = {}
  for refs in several:
    twice = sorted(set(found) & set(refs))
    if twice:
      raise ValueError(f"two reparameterizations use the ref names {twice}: give one of them another ref=")
    found |= refs
  return found


def compose(*reparams: Reparam) -> Reparam:
  """Reparameterizations on top of each other: the first rewrites the weights, the next the parameters of the first.

  Args:
    *reparams: at least one. `compose(lora(...), select(".*/b", ref="factors"))` trains the factors b alone.

  Returns:
    a Reparam; its `merge` is None where that of a link is.

  Raises:
    ValueError: at init, for two links with one `ref`.

  Example:
    >>> import jax.numpy as jnp
    >>> from unlearnjax.reparam import lora, select
    >>> both = compose(lora(rank=1, where="w"), select(".*/b", ref="factors"))
    >>> phi, refs = both.init(jax.random.key(0), {"w": jnp.ones((3, 2))})
    >>> jax.tree.map(jnp.shape, phi), sorted(refs)
    ({'w': {'b': (1, 2)}}, ['base', 'factors'])
  """
  if not reparams:
    raise ValueError("compose needs at least one reparameterization")

  def init(key: Array, params: Params) -> tuple[Params, Refs]:
    refs: dict[str, Any] = {}
    for place, reparam in enumerate(reparams):
      params, new = reparam.init(jax.random.fold_in(key, place), params)
      refs = joined(refs, new)
    return params, refs

  def bind(fn: ModelFn) -> ModelFn:
    for reparam in reparams:
      fn = reparam.bind(fn)
    return fn

  def merge(phi: Params, refs: Refs) -> Params:
    for reparam in reversed(reparams):
      phi = reparam.merge(phi, refs)
    return phi

  return Reparam(init, bind, None if any(r.merge is None for r in reparams) else merge)


def attach(reparam: Reparam, model: Model, key: Array) -> Model:
  """The same model over phi: `params` is phi, `refs` holds what the reparameterization keeps fixed.

  Args:
    reparam: e.g. `lora(...)`.
    model: it is not changed; the attached model shares its arrays.
    key: a typed key.

  Example:
    >>> import jax.numpy as jnp
    >>> from unlearnjax.reparam import lora
    >>> model = Model({"w": jnp.ones((3, 2))}, fn=lambda params, inputs, **_: Outputs(inputs["x"] @ params["w"]))
    >>> small = attach(lora(rank=1, where="w"), model, jax.random.key(0))
    >>> small({"x": jnp.ones((1, 3))}).logits.tolist(), detach(small).params["w"].shape
    ([[3.0, 3.0]], (3, 2))
  """
  phi, refs = reparam.init(key, model.params)
  return Model(phi, model.state, joined(model.refs, refs), reparam.bind(model.fn))


def detach(model: Model) -> Model:
  """The model over its own weights again, with everything learnt merged into them.

  Raises:
    ValueError: a model that is not reparameterized, or whose weights depend on the input (a hypernetwork's task).
  """
  fn, params, refs = model.fn, model.params, dict(model.refs)
  if not isinstance(fn, Bound):
    raise ValueError(f"detach needs a model over merged parameters, as attach makes, got one of {type(fn).__name__}")
  while isinstance(fn, Bound):
    params = fn.merge(params, refs)
    refs.pop(fn.ref)
    fn = fn.fn
  return Model(params, model.state, refs, fn)


def named(tree: Any) -> dict[str, Any]:
  """Leaves by name, `blocks/0/q/kernel`."""
  return dict(zip(paths(tree), jax.tree.leaves(tree)))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Nested dicts from leaves, or sub-trees, by name."""
  from flax.traverse_util import unflatten_dict

  return unflatten_dict(dict(flat), sep="/")
