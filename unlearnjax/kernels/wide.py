"""Counts beyond 32 bits, as (high, low) with low < 2**16: models have more weights than a uint32 can count."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array

BASE = 1 << 16


class Wide(NamedTuple):
  """high * 2**16 + low, both uint32, low < 2**16: exact below 2**48."""

  high: Array
  low: Array


def wide(number: int | Array) -> Wide:
  """Of a Python int or an integer array, >= 0."""
  if isinstance(number, int):
    return Wide(jnp.uint32(number // BASE), jnp.uint32(number % BASE))
  number = jnp.asarray(number)
  low = number & jnp.asarray(BASE - 1, number.dtype)
  return Wide((number >> 16).astype(jnp.uint32), low.astype(jnp.uint32))


def total(counts: Array) -> Wide:
  """Sum over axis 0 (at most 65536 long) of uint32 counts."""
  parts = wide(counts)
  low = jnp.sum(parts.low, axis=0, dtype=jnp.uint32)
  return Wide(jnp.sum(parts.high, axis=0, dtype=jnp.uint32) + low // BASE, low % BASE)


def running(counts: Array) -> Wide:
  """Sum of all earlier entries of uint32[n], n <= 65536."""
  parts = wide(counts)
  low = jnp.cumsum(parts.low, dtype=jnp.uint32) - parts.low
  high = jnp.cumsum(parts.high, dtype=jnp.uint32) - parts.high
  return Wide(high + low // BASE, low % BASE)


def less(a: Wide, b: Wide) -> Array:
  """a < b."""
  return (a.high < b.high) | ((a.high == b.high) & (a.low < b.low))


def equal(a: Wide, b: Wide) -> Array:
  """a == b."""
  return (a.high == b.high) & (a.low == b.low)


def minus(a: Wide, b: Wide) -> Wide:
  """a - b, at least 0."""
  low = a.low + BASE - b.low
  high = a.high + low // BASE - 1 - b.high
  negative = less(a, b)
  return Wide(jnp.where(negative, 0, high), jnp.where(negative, 0, low % BASE))


def narrow(a: Wide) -> Array:
  """uint32, the largest one where the number is larger."""
  return jnp.where(a.high < BASE, a.high * BASE + a.low, jnp.uint32(0xFFFFFFFF))


def as_float(a: Wide) -> Array:
  """f32, rounded."""
  return a.high.astype(jnp.float32) * BASE + a.low.astype(jnp.float32)


def pick(condition: Array, a: Wide, b: Wide) -> Wide:
  """a where the condition holds, else b."""
  return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
