"""Training some of the weights only."""

from __future__ import annotations

import jax

from unlearnjax.core import tree
from unlearnjax.core.types import Array, Params, Refs, Reparam
from unlearnjax.reparam.bound import bind_as, named, nested, read


def select(where: str | tuple[str, ...], *, ref: str = "base") -> Reparam:
  """Trains the leaves that match and leaves the rest where it is: phi holds nothing else.

  Optimizer states, gradients and checkpoints have the size of phi, and no decay or momentum can reach a frozen weight.
  A frozen mask on the full parameters (`updates.mask_by`) is the alternative where the selection is by element.

  Args:
    where: regular expression that must match the whole name of a leaf, such as `blocks/3/.*`; or several, of which
      each must match something.
    ref: name under which the original weights are kept in refs.

  Returns:
    a Reparam; phi is a sub-tree of the parameters with their values, `merge` puts it back.

  Raises:
    ValueError: at init, for an expression that is not valid or matches no leaf.

  Example:
    >>> import jax.numpy as jnp
    >>> head = select("head/.*")
    >>> params = {"body": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(3)}}
    >>> phi, refs = head.init(jax.random.key(0), params)
    >>> jax.tree.map(jnp.shape, phi), jax.tree.map(jnp.shape, head.merge(phi, refs)["body"])
    ({'head': {'kernel': (3,)}}, {'kernel': (2,)})
  """

  def init(key: Array, params: Params) -> tuple[Params, Refs]:
    del key
    return nested(selected(params, where)), {ref: params}

  def merge(phi: Params, refs: Refs) -> Params:
    base = read(refs, ref)
    return jax.tree.unflatten(jax.tree.structure(base), list({**named(base), **named(phi)}.values()))

  return Reparam(init, bind_as(merge, init, ref), merge)


def selected(params: Params, where: str | tuple[str, ...]) -> dict[str, Array]:
  """The leaves that any of the expressions matches, by name.

  Raises:
    ValueError: an expression that is not valid or matches no leaf.
  """
  masks = [tree.matching(params, regex, "where") for regex in ((where,) if isinstance(where, str) else where)]
  if not masks:
    raise ValueError("where must hold at least one regular expression, got none")
  hits = [any(hit) for hit in zip(*map(jax.tree.leaves, masks))]
  return {name: leaf for hit, (name, leaf) in zip(hits, named(params).items()) if hit}
