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
  implementation: Literal["auto", "xla", "patches"] = "auto",
) -> Array:
  """Cross-correlation of images with a bank of filters.

  "patches" gathers the neighbourhood of every output pixel and multiplies matrices; on the way back they are gathered
  again, not kept. Inside a compiled loop on a CPU, XLA runs its convolutions without their fast kernels: there a
  training step of the default `ConvNet` takes fifteen times as long with "xla". Accelerators do better with "xla".

  Args:
    x: f[B, H, W, C].
    kernel: f[h, w, C, K].
    stride: step between output pixels, in both directions.
    padding: rows and columns of zeros on each of the four sides.
    implementation: "auto" takes "patches" where the default backend is a CPU.

  Returns:
    f[B, (H + 2 padding - h) // stride + 1, (W + 2 padding - w) // stride + 1, K].

  Raises:
    ValueError: an unknown implementation, or shapes that do not fit.

  Example:
    >>> conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
  """
  check.one_of("implementation", implementation, ("auto", "xla", "patches"))
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
    raise ValueError(f"conv2d needs x [B, H, W, C] and kernel [h, w, C, K], got {x.shape} and {kernel.shape}")
  if min(x.shape[1] - kernel.shape[0], x.shape[2] - kernel.shape[1]) + 2 * padding < 0:
    raise ValueError(f"a kernel {kernel.shape[:2]} does not fit into images {x.shape[1:3]} padded by {padding}")
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  x, kernel = x.astype(dtype), kernel.astype(dtype)
  if implementation == "auto":
    implementation = "patches" if jax.default_backend() == "cpu" else "xla"
  if implementation == "patches":
    return jax.checkpoint(functools.partial(_by_patches, stride=stride, padding=padding))(x, kernel)
  sides = ((padding, padding), (padding, padding))
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _by_patches(x: Array, kernel: Array, *, stride: int, padding: int) -> Array:
  h, w, _, width = kernel.shape
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  rows, columns = x.shape[1] - h + 1, x.shape[2] - w + 1
  shifted = [x[:, i : i + rows : stride, j : j + columns : stride] for i in range(h) for j in range(w)]
  return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, width)
