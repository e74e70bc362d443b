"""The Gram matrix of stored gradients as a Pallas kernel: each is read once, for its products with all others."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array
from unlearnjax.kernels import stream

TPU_ROWS = 8
TPU_BYTES = 1 << 21
GPU_COLUMNS = 64
GPU_PROGRAMS = 528


def gram_pallas(memory: Array, current: Array) -> tuple[Array, Array]:
  """(f32[T, T], f32[T]) of memory [T, ...] and current [...], on the device for which the program is lowered."""
  gpu = functools.partial(_gpu, False)
  return jax.lax.platform_dependent(
    memory,
    current,
    tpu=functools.partial(_tpu, False),
    cuda=gpu,
    rocm=gpu,
    default=functools.partial(_tpu if stream.ON_CPU == "tpu" else _gpu, True),
  )


def _products(x: Array, g: Array) -> tuple[Array, Array]:
  """x [T, n], g [1, n] in float32 -> [T, T], [T, 1]."""
  by_rows = (((1,), (1,)), ((), ()))
  square = jax.lax.dot_general(x, x, by_rows, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
  return square, jnp.sum(x * g, axis=1, keepdims=True)


def _tpu(interpret, memory, current):
  from jax.experimental import pallas as pl

  stacked, _ = stream.fold2d(memory, 1)  # padding is zeros, which add nothing
  flat, _ = stream.fold2d(current)
  (tasks, rows, cols), height = stacked.shape, TPU_ROWS
  width = max(TPU_BYTES // (4 * max(tasks, 8) * height) // 128, 1) * 128
  width = cols if cols <= width else width
  height = rows if rows <= height else height

  def kernel(m_ref, g_ref, square_ref, inner_ref):
    @pl.when((pl.program_id(0) == 0) & (pl.program_id(1) == 0))
    def _():
      square_ref[...] = jnp.zeros_like(square_ref)
      inner_ref[...] = jnp.zeros_like(inner_ref)

    col = jax.lax.broadcasted_iota(jnp.int32, (1, width), 1) + pl.program_id(0) * width
    for r in range(height):
      inside = (col < cols) & (pl.program_id(1) * height + r < rows)
      x = jnp.where(inside, m_ref[:, r, :].astype(jnp.float32), 0)
      g = jnp.where(inside, g_ref[r : r + 1, :].astype(jnp.float32), 0)
      square, inner = _products(x, g)
      square_ref[...] += square
      inner_ref[...] += inner

  square, inner = pl.pallas_call(
    kernel,
    out_shape=[jax.ShapeDtypeStruct((tasks, tasks), jnp.float32), jax.ShapeDtypeStruct((tasks, 1), jnp.float32)],
    grid=(pl.cdiv(cols, width), pl.cdiv(rows, height)),
    in_specs=[
      pl.BlockSpec((tasks, height, width), lambda j, i: (0, i, j)),
      pl.BlockSpec((height, width), lambda j, i: (i, j)),
    ],
    out_specs=[
      pl.BlockSpec((tasks, tasks), lambda j, i: (0, 0)),
      pl.BlockSpec((tasks, 1), lambda j, i: (0, 0)),
    ],
    interpret=interpret,
  )(stacked, flat)
  return square, inner[:, 0]


def _gpu(interpret, memory, current):
  from jax.experimental import pallas as pl
  from jax.experimental.pallas import triton as plt

  tasks, size = memory.shape[0], current.size
  tall = max(16, pl.next_power_of_2(tasks))  # the least that a tensor core takes
  chunks = pl.cdiv(size, GPU_COLUMNS)
  programs = min(chunks, GPU_PROGRAMS)

  def kernel(m_ref, g_ref, square_ref, inner_ref):
    row, program = jnp.arange(tall, dtype=jnp.int32), pl.program_id(0)

    def chunk(step, totals):
      start = (program + step * programs) * GPU_COLUMNS
      inside = start + jnp.arange(GPU_COLUMNS, dtype=jnp.int32) < size
      both = (row < tasks)[:, None] & inside[None, :]
      where = pl.ds(start, GPU_COLUMNS)
      x = plt.load(m_ref.at[pl.ds(0, tall), where], mask=both, other=jnp.zeros((), m_ref.dtype))
      g = plt.load(g_ref.at[where], mask=inside, other=jnp.zeros((), g_ref.dtype))
      x, g = x.astype(jnp.float32), g.astype(jnp.float32)
      square = plt.dot(x, x, trans_b=True, precision=jax.lax.Precision.HIGHEST)
      return totals[0] + square, totals[1] + jnp.sum(x * g[None, :], axis=1)

    zeros = jnp.zeros((tall, tall), jnp.float32), jnp.zeros(tall, jnp.float32)
    square, inner = jax.lax.fori_loop(0, pl.cdiv(chunks, programs), chunk, zeros)
    square_ref[program, :, :] = square
    inner_ref[program, :] = inner

  square, inner = pl.pallas_call(
    kernel,
    out_shape=[
      jax.ShapeDtypeStruct((programs, tall, tall), jnp.float32),
      jax.ShapeDtypeStruct((programs, tall), jnp.float32),
    ],
    grid=(programs,),
    compiler_params=plt.CompilerParams(num_warps=4),
    interpret=interpret,
  )(memory.reshape(tasks, -1), current.reshape(-1))
  return square.sum(0)[:tasks, :tasks], inner.sum(0)[:tasks]
