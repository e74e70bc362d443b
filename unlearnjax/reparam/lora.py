"""Low-rank updates of kernels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, Params, Refs, Reparam
from unlearnjax.reparam.bound import bind_as, named, nested, read
from unlearnjax.reparam.select import selected

_DEFAULT_AXES = {2: "io", 3: "lio"}


def lora(
  rank: int,
  alpha: float | None = None,
  where: str | tuple[str, ...] = ".*kernel",
  *,
  ref: str = "base",
  axes: str | Mapping[str, str] | None = None,
  dtype: jnp.dtype | None = None,
) -> Reparam:
  """LoRA: W = W0 + (alpha / rank) a b with W0 frozen. Hu et al., ICLR 2022, arXiv:2106.09685.

  a ~ U(-1 / sqrt(in), 1 / sqrt(in)) and b = 0: nothing changes at init, and only b has a gradient there. A reference
  model (NPO, distillation) is then phi at init, which is small: no second copy of the weights is held.

  The kernel of each layer is a matrix [in, out]; `axes` says how its leaf is one, a letter an axis, in order:

  * "io", a dense kernel [in, out]: the default for leaves of two axes;
  * "lio", a stack [layers, in, out] of a scan over layers, with factors for each layer: the default for three axes;
  * "ioo", [in, heads, dim], as in + heads * dim; "iio", [heads, dim, out]; "lioo", a stack of the former;
  * "iiio", a convolution [height, width, in, out].

  Axes of one letter are flattened into one for the product and restored in the sum. Weights are summed before the
  layer is applied: a forward pass needs one more array of the size of each adapted kernel, and so does its gradient,
  for as long as that layer is at work; the gradient, the optimizer state and the checkpoint have the size of a and b.

  Args:
    rank: r, from 1 to min(in, out) of every adapted kernel.
    alpha: scale, > 0; `rank` by default, so that W = W0 + a b.
    where: regular expression that must match the whole name of a leaf; or several, of which each must match.
    ref: name under which the original weights are kept in refs; nested reparameterizations need different names.
    axes: one pattern for all adapted leaves, or a pattern by regular expression.
    dtype: of the factors; that of the kernel, but at least float32. The sum has the dtype of the kernel.

  Returns:
    a Reparam. phi is `{"blocks": {"0": {"q": {"kernel": {"a": f[in, r], "b": f[r, out]}}}}}`.

  Raises:
    ValueError: a rank or alpha out of range; at init, an expression that matches nothing, a leaf whose axes are not
      known or do not fit, or a rank above min(in, out).

  Example:
    >>> model = {"q": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
    >>> adapter = lora(rank=2, alpha=4, where=".*/kernel")
    >>> phi, refs = adapter.init(jax.random.key(0), model)
    >>> jax.tree.map(jnp.shape, phi)
    {'q': {'kernel': {'a': (4, 2), 'b': (2, 3)}}}
    >>> bool((adapter.merge(phi, refs)["q"]["kernel"] == 1).all())
    True
  """
  check.positive("rank", rank)
  scale = 1.0 if alpha is None else alpha / rank
  check.positive("alpha", rank * scale)

  def init(key: Array, params: Params) -> tuple[Params, Refs]:
    factors = {}
    for name, kernel in selected(params, where).items():
      layers, wide, out = sizes(name, kernel, axes)
      if rank > min(wide, out):
        raise ValueError(f"rank must be at most min(in, out) = {min(wide, out)} of the leaf {name!r}, got {rank}")
      kind = jnp.promote_types(kernel.dtype, jnp.float32) if dtype is None else dtype
      bound = 1 / math.sqrt(wide)
      a = jax.random.uniform(fold_name(key, name), (*layers, wide, rank), kind, -bound, bound)
      factors[name] = {"a": a, "b": jnp.zeros((*layers, rank, out), kind)}
    return nested(factors), {ref: params}

  def merge(phi: Params, refs: Refs) -> Params:
    base = read(refs, ref)
    factors = named(phi)

    def leaf(name, kernel):
      if f"{name}/a" not in factors:
        return kernel
      delta = (scale * (factors[f"{name}/a"] @ factors[f"{name}/b"])).reshape(kernel.shape)
      return (kernel + delta).astype(kernel.dtype)

    leaves = [leaf(name, kernel) for name, kernel in named(base).items()]
    return jax.tree.unflatten(jax.tree.structure(base), leaves)

  return Reparam(init, bind_as(merge, init, ref), merge)


def sizes(name: str, kernel: Array, axes: str | Mapping[str, str] | None) -> tuple[tuple[int, ...], int, int]:
  """How a leaf is a stack of matrices: (sizes of the stack, in, out).

  Raises:
    ValueError: axes that are not known, or do not fit the leaf.

  Example:
    >>> sizes("q", jnp.zeros((2, 8, 4, 3)), "lioo")
    ((2,), 8, 12)
  """
  if isinstance(axes, Mapping):
    pattern = next((p for regex, p in axes.items() if re.fullmatch(regex, name)), None)
  else:
    pattern = axes
  if pattern is None:
    pattern = _DEFAULT_AXES.get(kernel.ndim)
    if pattern is None:
      raise ValueError(f"the leaf {name!r} has shape {kernel.shape}: say which axes are in and out by axes=")
  if not re.fullmatch("l*i+o+", pattern) or len(pattern) != kernel.ndim:
    raise ValueError(
      f"axes must be letters l (layers), i (in), o (out) in that order, one an axis of the leaf {name!r} of shape "
      f"{kernel.shape}, got {pattern!r}"
    )
  of = lambda letter: tuple(n for n, x in zip(kernel.shape, pattern) if x == letter)
  return of("l"), math.prod(of("i")), math.prod(of("o"))
