"""Quantisation as an attack: small changes of weights vanish in the rounding, and what was forgotten comes back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.tree import paths
from unlearnjax.core.types import Array, ArrayTree
from unlearnjax.losses import shapes

# quantiles of a normal distribution, QLoRA's 4-bit format
NF4 = (
  -1.0,
  -0.6961928,
  -0.52507305,
  -0.39491749,
  -0.28444138,
  -0.18477343,
  -0.09105004,
  0.0,
  0.0795803,
  0.1609302,
  0.2461123,
  0.33791524,
  0.44070983,
  0.562617,
  0.72295684,
  1.0,
)
FORMATS = ("absmax", "nf4")


def quantize(
  params: ArrayTree,
  bits: int = 4,
  *,
  where: str = r".*kernel",
  input_axes: int | None = None,
  block: int | None = None,
  fmt: str = "absmax",
) -> ArrayTree:
  """Weights rounded to few levels and scaled back: the model that an attacker gets for free.

  absmax: s = max|w| / (2^(bits - 1) - 1) and round(w / s) s, one scale an output channel or a block. An unlearned model
  whose weights moved less than s / 2 rounds to the original one. Measure the retained utility as well: without it the
  attack proves nothing. 8 bits hardly matter. Zhang et al. 2024, arXiv:2410.16454.

  Args:
    params: any pytree of arrays.
    bits: 2 to 16; 4 for nf4.
    where: pattern of the leaves that are rounded, matched against whole paths such as "head/kernel"; those of fewer
      than two axes are left alone.
    input_axes: how many axes before the last, the output channels, share a scale; None for all of them. 1 for kernels
      that are stacked over layers, [L, in, out].
    block: weights that share a scale, over the flattened leaf, in the place of channels.
    fmt: "absmax", or "nf4" (QLoRA's levels), usually with a block of 64.

  Returns:
    a tree of the same structure, shapes and dtypes.

  Raises:
    ValueError: bits out of range, an unknown format, a pattern that matches no leaf.

  Example:
    >>> quantize({"head": {"kernel": jnp.array([[1.0, 0.0], [0.7, 7.0]])}}, bits=2)["head"]["kernel"].tolist()
    [[1.0, 0.0], [1.0, 7.0]]
  """
  return _mapped(lambda w: _rounded(w, bits, input_axes, block, fmt)[1], params, bits, where, fmt)


def code_agreement(
  params: ArrayTree,
  reference: ArrayTree,
  bits: int = 4,
  *,
  where: str = r".*kernel",
  input_axes: int | None = None,
  block: int | None = None,
  fmt: str = "absmax",
) -> float:
  """Share of weights that round to the same code in both models, in [0, 1]; near 1 the attack will undo unlearning.

  Compare with that of the retrained model.

  Args:
    params: of the unlearned model.
    reference: of the original model.
    bits, where, input_axes, block, fmt: as in `quantize`.

  Example:
    >>> weights = lambda x: {"kernel": jnp.array([[7.0], [x]])}
    >>> code_agreement(weights(3.0), weights(3.3)), code_agreement(weights(3.0), weights(3.7))
    (1.0, 0.5)
  """
  check.same_structure("params", params, reference, "reference")
  codes = lambda tree: _mapped(
    lambda w: _rounded(w, bits, input_axes, block, fmt)[0], tree, bits, where, fmt, keep=False
  )
  pairs = list(zip(jax.tree.leaves(codes(params)), jax.tree.leaves(codes(reference)), strict=True))
  return float(sum(jnp.sum(a == b) for a, b in pairs) / sum(a.size for a, _ in pairs))


def _mapped(f, params: ArrayTree, bits: int, where: str, fmt: str, keep: bool = True) -> ArrayTree:
  check.one_of("fmt", fmt, FORMATS)
  if not 2 <= bits <= 16 or (fmt == "nf4" and bits != 4):
    raise ValueError(f"bits must be in [2, 16], and 4 for nf4; got {bits}")
  names, (leaves, structure) = paths(params), jax.tree.flatten(params)
  pattern = check.regex("where", where)
  chosen = [pattern.fullmatch(name) is not None and np.ndim(w) >= 2 for name, w in zip(names, leaves, strict=True)]
  if not any(chosen):
    raise ValueError(f"where={where!r} matches no leaf of two axes or more; the leaves are {', '.join(names)}")
  return structure.unflatten([f(w) if c else (w if keep else None) for w, c in zip(leaves, chosen, strict=True)])


def _rounded(w: Array, bits: int, input_axes: int | None, block: int | None, fmt: str) -> tuple[Array, Array]:
  """(codes, values) of one leaf, in its shape."""
  values = shapes.at_least_f32(w)
  if block is None:
    inside = values.ndim - 1 if input_axes is None else input_axes
    if not 1 <= inside < values.ndim:
      raise ValueError(f"input_axes must be in [1, {values.ndim - 1}] for a leaf of shape {values.shape}, got {inside}")
    rows, axis = values.reshape(*values.shape[: values.ndim - 1 - inside], -1, values.shape[-1]), -2
  else:
    check.positive("block", block)
    rows, axis = jnp.pad(values.ravel(), (0, -values.size % block)).reshape(-1, block), -1
  top = jnp.max(jnp.abs(rows), axis=axis, keepdims=True)
  relative = rows / jnp.where(top > 0, top, 1)
  if fmt == "nf4":
    levels = jnp.asarray(NF4)
    codes = jnp.searchsorted((levels[1:] + levels[:-1]) / 2, relative)
    back = levels[codes] * top
  else:
    steps = 2 ** (bits - 1) - 1
    codes = jnp.round(relative * steps).astype(jnp.int32)
    back = codes / steps * top  # in this order the largest weight stays what it is
  shaped = lambda x: x.ravel()[: values.size].reshape(values.shape)
  return shaped(codes), shaped(back).astype(jnp.asarray(w).dtype)
