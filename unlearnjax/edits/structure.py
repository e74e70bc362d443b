"""Changes of what a tree of parameters contains: head rows, fresh weights, masks by path."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name, get_path, paths, set_path
from unlearnjax.core.types import Array, ArrayTree, Params
from unlearnjax.losses import shapes


def widen_head(params: Params, key: Array, head: str = "head") -> Params:
  """Adds one class to a classifier: a fresh column of the kernel and a zero bias; the old logits do not change.

  The first half of Boundary Expanding (arXiv:2303.11570); `drop_head_row` is the last.

  Args:
    params: weights with `head/kernel` [d, C] and, if there is one, `head/bias` [C].
    key: a typed key for the new column, drawn with variance 1 / d.
    head: path of the head.

  Returns:
    weights with [d, C + 1] and [C + 1].

  Example:
    >>> params = {"head": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}}
    >>> wider = widen_head(params, jax.random.key(0))["head"]
    >>> wider["kernel"].shape, wider["bias"].tolist()
    ((4, 3), [1.0, 1.0, 0.0])
  """
  layer, where = _head(params, head)
  kernel = layer["kernel"]
  fresh = jax.nn.initializers.lecun_normal()(fold_name(key, "head"), (kernel.shape[0], 1), kernel.dtype)
  layer["kernel"] = jnp.concatenate([kernel, fresh], axis=1)
  if "bias" in layer:
    layer["bias"] = jnp.concatenate([layer["bias"], jnp.zeros(1, layer["bias"].dtype)])
  return set_path(params, where, layer)


def drop_head_row(params: Params, row: int = -1, head: str = "head") -> Params:
  """Removes one class, the last by default, from a classifier's head.

  Args:
    params: weights with `head/kernel` [d, C] and, if there is one, `head/bias` [C].
    row: the class, in [-C, C).
    head: path of the head.

  Example:
    >>> params = {"head": {"kernel": jnp.array([[1.0, 2.0, 3.0]]), "bias": jnp.zeros(3)}}
    >>> drop_head_row(params)["head"]["kernel"].tolist()
    [[1.0, 2.0]]
  """
  layer, where = _head(params, head)
  size = layer["kernel"].shape[1]
  if not -size <= row < size:
    raise ValueError(f"row must be in [-{size}, {size}), got {row}")
  return set_path(params, where, {k: jnp.delete(v, row, axis=-1) for k, v in layer.items()})


def path_mask(params: Params, pattern: str) -> ArrayTree:
  """True throughout the leaves whose path matches a regular expression, False elsewhere.

  For `updates.mask_by` (train the last layers only) and `reinitialize`.

  Args:
    params: weights.
    pattern: searched in paths such as `blocks/0/conv/kernel`.

  Raises:
    ValueError: a pattern that is no regular expression, or matches nothing.

  Example:
    >>> mask = path_mask({"body": jnp.ones(2), "head": jnp.ones(1)}, "^head")
    >>> mask["body"].tolist(), mask["head"].tolist()
    ([False, False], [True])
  """
  names, searched = paths(params), check.regex("pattern", pattern)
  hits = [searched.search(name) is not None for name in names]
  if not any(hits):
    raise ValueError(f"pattern {pattern!r} matches no parameter; found {names}")
  leaves, structure = jax.tree.flatten(params)
  return jax.tree.unflatten(structure, [jnp.full(leaf.shape, hit) for leaf, hit in zip(leaves, hits)])


def reinitialize(params: Params, fresh: Params, mask: ArrayTree) -> Params:
  """Fresh weights where the mask is True, the old ones elsewhere: the start of EU-k (Goel et al., arXiv:2201.06640).

  Args:
    params: weights.
    fresh: weights of a new initialisation, tree like `params`.
    mask: tree of bool arrays like `params`.

  Example:
    >>> reinitialize(jnp.zeros(2), jnp.ones(2), jnp.array([True, False])).tolist()
    [1.0, 0.0]
  """
  check.same_structure("fresh", fresh, params, "params")
  check.same_structure("mask", mask, params, "params")
  return jax.tree.map(lambda p, f, m: jnp.where(m, f.astype(p.dtype), p), params, fresh, mask)


def soft_threshold(params: Params, reference: Params, threshold: float | Array) -> Params:
  """reference + soft(theta - reference, threshold): weights that moved less than the threshold return.

  soft(x, t) = sign(x) max(|x| - t, 0), the proximal step of SalUn's variant without a mask (arXiv:2310.12508).

  Args:
    params: weights.
    reference: where they started, tree like `params`.
    threshold: >= 0.

  Example:
    >>> soft_threshold(jnp.array([1.1, 3.0]), jnp.ones(2), 0.5).tolist()
    [1.0, 2.5]
  """
  check.same_structure("reference", reference, params, "params")

  def leaf(p, r):
    moved = p - r
    return r + jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - jnp.asarray(threshold, p.dtype), 0)

  return jax.tree.map(leaf, params, reference)


def perturb(params: Params, key: Array, relative: float = 1e-3) -> Params:
  """theta + relative rms(theta) N(0, 1), rms of each leaf.

  A student that equals its teacher has no gradient of a divergence to it: this gets it off that point.

  Args:
    params: weights.
    key: a typed key.
    relative: >= 0.

  Example:
    >>> moved = perturb(jnp.ones(1000), jax.random.key(0), 0.5)
    >>> round(float(moved.std()), 1)
    0.5
  """
  check.positive("relative", relative, zero=True)
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(fold_name(key, "perturb"), len(leaves))

  def leaf(p, k):
    rms = jnp.sqrt(jnp.mean(jnp.square(shapes.at_least_f32(p))))
    return p + (relative * rms * jax.random.normal(k, p.shape, rms.dtype)).astype(p.dtype)

  return jax.tree.unflatten(structure, [leaf(p, k) for p, k in zip(leaves, keys)])


def _head(params: Params, head: str):
  where = tuple(head.split("/"))
  layer = dict(get_path(params, where))
  if jnp.ndim(layer.get("kernel", 0)) != 2:
    raise ValueError(f"params[{head!r}] must hold a kernel [d, C]; found {sorted(layer)}")
  return layer, where
