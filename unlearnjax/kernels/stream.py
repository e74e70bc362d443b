"""One pass over arrays of one shape, elementwise and with sums, as a Pallas kernel for TPU (Mosaic) or GPU (Triton).

A body is a function `(scalars, blocks, stacks) -> (outputs, terms)` of blocks of one shape: `scalars` holds tuples of
numbers, `stacks` tuples of T blocks. Outputs are written, terms summed over all entries. Blocks at the edge hold
garbage; its outputs are not written and its terms are not counted, so a body need not know.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array

LANES = 128
TPU_BLOCK = 1 << 16
GPU_BLOCK = 1024
GPU_PROGRAMS = 1056  # eight for each of 132 multiprocessors
ON_CPU = "tpu"  # whose body is interpreted on a CPU


def stream(
  body: Callable,
  scalars: Sequence[Array],
  arrays: Sequence[Array],
  *,
  stacked: Sequence[Array] = (),
  outs: Sequence = (),
  sums: tuple[int, jnp.dtype] | None = None,
) -> tuple[list[Array], Array | None]:
  """Runs a body over whole arrays, on the device for which the program is lowered; interpreted on a CPU.

  Args:
    body: see above.
    scalars: arrays f[S], read as single numbers.
    arrays: all of one shape, not empty.
    stacked: arrays with a leading axis T in front of that shape.
    outs: dtypes of the outputs.
    sums: (number of terms, their dtype).

  Returns:
    (outputs of that shape, dtype[terms] or None).
  """
  run = functools.partial(_run, body, tuple(jnp.dtype(d) for d in outs), sums)
  gpu = functools.partial(run, _gpu, False)
  return jax.lax.platform_dependent(
    tuple(scalars),
    tuple(arrays),
    tuple(stacked),
    tpu=functools.partial(run, _tpu, False),
    cuda=gpu,
    rocm=gpu,
    default=functools.partial(run, _tpu if ON_CPU == "tpu" else _gpu, True),
  )


def _run(body, outs, sums, target, interpret, scalars, arrays, stacked):
  scalars = tuple(jnp.atleast_1d(s) for s in scalars)
  results = target(body, outs, sums, interpret, scalars, arrays, stacked)
  total = jnp.sum(results.pop(), axis=1, dtype=sums[1]) if sums else None
  return results, total


def fold2d(x: Array, lead: int = 0) -> tuple[Array, int | None]:
  """The view [lead..., rows, lanes] that costs nothing on a TPU, and the number of entries where some were added.

  The last axis stays. A vector becomes rows of 128; one that they do not divide is padded, which copies it: long
  vectors of odd length are rare among weights.
  """
  shape, head = x.shape[lead:], x.shape[:lead]
  if len(shape) > 1:
    return x.reshape(*head, -1, shape[-1]), None
  size = math.prod(shape)
  short = -size % LANES
  flat = jnp.pad(x.reshape(*head, size), [(0, 0)] * lead + [(0, short)])
  return flat.reshape(*head, -1, LANES), size if short else None


def _tpu(body, outs, sums, interpret, scalars, arrays, stacked):
  from jax.experimental import pallas as pl
  from jax.experimental.pallas import tpu as pltpu

  shape = arrays[0].shape
  flat, sizes = zip(*(fold2d(x) for x in arrays))
  stacks = [fold2d(x, 1)[0] for x in stacked]
  (rows, cols), size = flat[0].shape, sizes[0]
  streams = len(arrays) + len(outs) + sum(x.shape[0] for x in stacked)
  width = cols if cols <= 1024 else 1024
  # 32 rows fill a tile of the narrowest dtype; all blocks are held twice
  height = max(TPU_BLOCK * 4 // max(streams, 4) // width // 32, 1) * 32
  height = rows if rows <= height else height
  grid = (pl.cdiv(cols, width), pl.cdiv(rows, height))
  ragged = cols % width or rows % height or size is not None
  block = pl.BlockSpec((height, width), lambda j, i: (i, j))

  def kernel(*refs):
    numbers, refs = refs[: len(scalars)], refs[len(scalars) :]
    ins, refs = refs[: len(flat)], refs[len(flat) :]
    held, refs = refs[: len(stacks)], refs[len(stacks) :]
    values = [tuple(r[k] for k in range(s.shape[0])) for r, s in zip(numbers, scalars)]
    tall = [tuple(r[t] for t in range(s.shape[0])) for r, s in zip(held, stacks)]
    written, terms = body(values, [r[...] for r in ins], tall)
    for ref, value in zip(refs, written):
      ref[...] = value.astype(ref.dtype)
    if sums is None:
      return
    row = jax.lax.broadcasted_iota(jnp.int32, (height, width), 0) + pl.program_id(1) * height
    col = jax.lax.broadcasted_iota(jnp.int32, (height, width), 1) + pl.program_id(0) * width
    inside = (row < rows) & (col < cols)
    if size is not None:
      inside = inside & (row * cols + col < size)

    @pl.when(pl.program_id(1) == 0)
    def _():
      refs[-1][...] = jnp.zeros_like(refs[-1])

    for s, term in enumerate(terms):
      term = jnp.where(inside, term, 0) if ragged else term
      refs[-1][s : s + 1, :] += jnp.sum(term.astype(sums[1]), axis=0, keepdims=True)

  out_shape = [jax.ShapeDtypeStruct((rows, cols), d) for d in outs]
  out_specs = [block] * len(outs)
  if sums:
    out_shape.append(jax.ShapeDtypeStruct((sums[0], grid[0] * width), sums[1]))
    out_specs.append(pl.BlockSpec((sums[0], width), lambda j, i: (0, j)))
  found = pl.pallas_call(
    kernel,
    out_shape=out_shape,
    grid=grid,
    in_specs=[pl.BlockSpec(memory_space=pltpu.SMEM)] * len(scalars)
    + [block] * len(flat)
    + [pl.BlockSpec((s.shape[0], height, width), lambda j, i: (0, i, j)) for s in stacks],
    out_specs=out_specs,
    interpret=interpret,
  )(*scalars, *flat, *stacks)
  whole = [x if size is None else x.reshape(-1)[:size] for x in found[: len(outs)]]
  return [x.reshape(shape) for x in whole] + list(found[len(outs) :])


def _gpu(body, outs, sums, interpret, scalars, arrays, stacked):
  from jax.experimental import pallas as pl
  from jax.experimental.pallas import triton as plt

  shape, size = arrays[0].shape, arrays[0].size
  chunks = pl.cdiv(size, GPU_BLOCK)
  # sums are kept in registers over many blocks and written once a program: no atomics, the same bits every time
  programs = min(chunks, GPU_PROGRAMS) if sums else chunks

  def kernel(*refs):
    numbers, refs = refs[: len(scalars)], refs[len(scalars) :]
    ins, refs = refs[: len(arrays)], refs[len(arrays) :]
    held, refs = refs[: len(stacked)], refs[len(stacked) :]
    values = [tuple(r[k] for k in range(s.shape[0])) for r, s in zip(numbers, scalars)]

    program = pl.program_id(0)

    def chunk(step, totals):
      start = (program + step * programs) * GPU_BLOCK
      where = pl.ds(start, GPU_BLOCK)
      inside = start + jnp.arange(GPU_BLOCK, dtype=jnp.int32) < size
      load = lambda ref: plt.load(ref, mask=inside, other=jnp.zeros((), ref.dtype))
      tall = [tuple(load(r.at[jnp.int32(t), where]) for t in range(s.shape[0])) for r, s in zip(held, stacked)]
      written, terms = body(values, [load(r.at[where]) for r in ins], tall)
      for ref, value in zip(refs, written):
        plt.store(ref.at[where], value.astype(ref.dtype), mask=inside)
      return tuple(t + jnp.where(inside, x, 0).astype(t.dtype) for t, x in zip(totals, terms))

    zeros = tuple(jnp.zeros(GPU_BLOCK, sums[1]) for _ in range(sums[0])) if sums else ()
    totals = jax.lax.fori_loop(0, pl.cdiv(chunks, programs), chunk, zeros) if sums else chunk(0, ())
    for s, total in enumerate(totals):
      refs[-1][s, program] = jnp.sum(total)

  out_shape = [jax.ShapeDtypeStruct((size,), d) for d in outs]
  if sums:
    out_shape.append(jax.ShapeDtypeStruct((sums[0], programs), sums[1]))
  found = pl.pallas_call(
    kernel,
    out_shape=out_shape,
    grid=(programs,),
    compiler_params=plt.CompilerParams(num_warps=8),
    interpret=interpret,
  )(*scalars, *(x.reshape(-1) for x in arrays), *(x.reshape(x.shape[0], -1) for x in stacked))
  return [x.reshape(shape) for x in found[: len(outs)]] + list(found[len(outs) :])
