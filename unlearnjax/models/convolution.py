"""Two-dimensional convolution, written for the processor that it runs on."""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from unlearnjax.core import check
from unlearnjax.core.types import Array


def conv2d(
  x: Array,
  kernel: Array,
  *,
  stride: int = 1,
  padding: int = 0,
  implementation: Literal["auto", "xla", "canonical"] = "auto",
) -> Array:
  """Cross-correlation of images with a bank of filters.

  On a CPU, XLA has fast kernels for convolutions of images [B, H, W, C] with filters [h, w, C, K] alone, and brings
  others into that form only outside of loops. The convolutions of the backward pass are of another form: inside the
  loop of `fit`, a training step with "xla" takes ten times as long as outside. "canonical" is the same sum in the fast
  form, and so are its derivatives of any order, forward and reverse; images of few channels give several pixels at a
  time.

  Args:
    x: f[B, H, W, C].
    kernel: f[h, w, C, K].
    stride: step between output pixels, in both directions.
    padding: rows and columns of zeros on each of the four sides.
    implementation: "auto" takes "canonical" where the default backend is a CPU, and "xla" elsewhere.

  Returns:
    f[B, (H + 2 padding - h) // stride + 1, (W + 2 padding - w) // stride + 1, K].

  Raises:
    ValueError: an unknown implementation, or shapes that do not fit.

  Example:
    >>> conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
  """
  check.one_of("implementation", implementation, ("auto", "xla", "canonical"))
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
    raise ValueError(f"conv2d needs x [B, H, W, C] and kernel [h, w, C, K], got {x.shape} and {kernel.shape}")
  if min(x.shape[1] - kernel.shape[0], x.shape[2] - kernel.shape[1]) + 2 * padding < 0:
    raise ValueError(f"a kernel {kernel.shape[:2]} does not fit into images {x.shape[1:3]} padded by {padding}")
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  x, kernel = x.astype(dtype), kernel.astype(dtype)
  if implementation == "auto":
    implementation = "canonical" if jax.default_backend() == "cpu" else "xla"
  if implementation == "canonical":
    return _third.bind(x, kernel, wrt="y", shapes=(x.shape, kernel.shape), stride=stride, padding=padding)
  return _convolve(x, kernel, (stride,) * 2, ((padding,) * 2,) * 2)


def _convolve(x: Array, kernel: Array, strides, sides, layout=("NHWC", "HWIO", "NHWC")) -> Array:
  return jax.lax.conv_general_dilated(x, kernel, strides, sides, dimension_numbers=layout)


def _given_two(a: Array, b: Array, *, wrt: str, shapes: tuple, stride: int, padding: int) -> Array:
  """The derivative of <y, conv(x, kernel)>, linear in all three, in one of them, from the other two in this order.

  In "y" it is the convolution itself, in "x" and "kernel" what reverse mode needs: the transposes of layouts that make
  them convolutions of NHWC images with HWIO filters.
  """
  along = functools.partial(_convolve, strides=(stride,) * 2, sides=((padding,) * 2,) * 2)
  if wrt == "x":
    run, shape = lambda x: along(x, a.transpose(0, 1, 3, 2), layout=("NHWC", "HWOI", "NHWC")), shapes[0]
  elif wrt == "kernel":
    images, layout, shape = a.transpose(3, 1, 2, 0), ("CHWN", "IHWO", "HWNC"), shapes[1]
    run = lambda k: along(images, k.transpose(2, 0, 1, 3), layout=layout).transpose(2, 0, 1, 3)
  elif b.shape[:2] == (1, 1) and not padding:
    return a[:, ::stride, ::stride] @ b[0, 0]
  elif a.shape[-1] < 4:
    return _by_neighbours(a, b, stride, padding)
  else:
    return along(a, b)
  return jax.linear_transpose(run, jax.ShapeDtypeStruct(shape, b.dtype))(b)[0]


_GIVEN = {"y": ("x", "kernel"), "x": ("kernel", "y"), "kernel": ("x", "y")}


def _transposed(position: int, ct: Array, *arguments, wrt: str, **options) -> Array:
  """The transpose in an argument is another derivative of the same form: `ct` takes the place of what was asked for."""
  asked = _GIVEN[wrt][position]
  given = {**dict(zip(_GIVEN[wrt], arguments)), wrt: ct}
  return _third.bind(*(given[name] for name in _GIVEN[asked]), wrt=asked, **options)


def _batched(arguments, axes, *, wrt: str, shapes: tuple, **options):
  """More images are one longer batch; several kernels are what XLA makes of it, in its own layouts."""
  images = {"y": 0, "x": 1}.get(wrt)
  if images is None or axes[1 - images] is not None:
    return jax.vmap(functools.partial(_given_two, wrt=wrt, shapes=shapes, **options), axes)(*arguments), 0
  stack, given = jnp.moveaxis(arguments[images], axes[images], 0), list(arguments)
  given[images] = stack.reshape(-1, *stack.shape[2:])
  shapes = ((len(given[images]), *shapes[0][1:]), shapes[1])
  out = _third.bind(*given, wrt=wrt, shapes=shapes, **options)
  return out.reshape(*stack.shape[:2], *out.shape[1:]), 0


def _abstract(*arguments, **options):
  found = jax.eval_shape(functools.partial(_given_two, **options), *arguments)
  return jax.core.ShapedArray(found.shape, found.dtype)


_third = Primitive("conv2d_third")
_third.def_impl(jax.jit(_given_two, static_argnames=("wrt", "shapes", "stride", "padding")))
_third.def_abstract_eval(_abstract)
ad.defbilinear(_third, functools.partial(_transposed, 0), functools.partial(_transposed, 1))
batching.primitive_batchers[_third] = _batched
mlir.register_lowering(_third, mlir.lower_fun(_given_two, multiple_results=False))


def _by_neighbours(x: Array, kernel: Array, stride: int, padding: int) -> Array:
  """Neighbouring pixels of a row as if they were channels of one: few channels leave the kernel's inner loop short."""
  h, w, channels, features = kernel.shape
  pack = max(1, 64 // features)
  reach, width = w + stride * (pack - 1), (x.shape[2] + 2 * padding - w) // stride + 1
  shifted = [jnp.pad(kernel, ((0, 0), (i * stride, reach - w - i * stride), (0, 0), (0, 0))) for i in range(pack)]
  columns = -(-width // pack)
  right = stride * pack * (columns - 1) + reach - padding - x.shape[2]
  wide = jnp.stack(shifted, 3).reshape(h, reach, channels, pack * features)
  y = _convolve(x, wide, (stride, stride * pack), ((padding, padding), (padding, right)))
  return y.reshape(*y.shape[:2], columns * pack, features)[:, :, :width]
