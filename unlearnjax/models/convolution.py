"""Two-dimensional convolution, written for the processor that it runs on."""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp

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
  loop of `fit`, a training step with "xla" takes ten times as long as outside. "canonical" is the same sum with a
  derivative whose transpose has the fast form; images of few channels give several pixels at a time.

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
    return _canonical(x, kernel, stride, padding)
  return _convolve(x, kernel, (stride,) * 2, ((padding,) * 2,) * 2)


def _convolve(x: Array, kernel: Array, strides, sides, layout=("NHWC", "HWIO", "NHWC")) -> Array:
  return jax.lax.conv_general_dilated(x, kernel, strides, sides, dimension_numbers=layout)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _canonical(x: Array, kernel: Array, stride: int, padding: int) -> Array:
  if kernel.shape[:2] == (1, 1) and not padding:
    return x[:, ::stride, ::stride] @ kernel[0, 0]
  if x.shape[-1] < 4:
    return _by_neighbours(x, kernel, stride, padding)
  return _convolve(x, kernel, (stride,) * 2, ((padding,) * 2,) * 2)


@_canonical.defjvp
def _canonical_jvp(stride, padding, primals, tangents):
  """The layouts are those whose transposes are NHWC images and HWIO filters: reverse mode runs the transposes alone."""
  (x, kernel), (dx, dk) = primals, tangents
  strides, sides = (stride,) * 2, ((padding,) * 2,) * 2
  along_x = _convolve(dx, kernel.transpose(0, 1, 3, 2), strides, sides, ("NHWC", "HWOI", "NHWC"))
  along_k = _convolve(x.transpose(3, 1, 2, 0), dk.transpose(2, 0, 1, 3), strides, sides, ("CHWN", "IHWO", "HWNC"))
  return _canonical(x, kernel, stride, padding), along_x + along_k.transpose(2, 0, 1, 3)


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
