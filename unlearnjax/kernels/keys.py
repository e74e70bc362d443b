"""Integers in the order of scores: comparing them compares floats, and they can be searched bit by bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array

_LOW_ZERO_BITS = {jnp.dtype(jnp.bfloat16): 16, jnp.dtype(jnp.float16): 13}


def key_dtype(dtype) -> jnp.dtype:
  """int32 or, for 64-bit scores, int64."""
  return jnp.dtype(jnp.int64 if jnp.dtype(dtype).itemsize == 8 else jnp.int32)


def to_keys(x: Array, dtype, magnitude: bool = False) -> Array:
  """Signed integers whose order is that of x (or of |x|) as `dtype`.

  -0 and 0 have one key. Every NaN has one key, above infinity.

  Example:
    >>> keys = to_keys(jnp.array([-jnp.inf, -1.0, -0.0, 0.0, 1e-45, jnp.inf, -jnp.nan]), jnp.float32)
    >>> (jnp.diff(keys) >= 0).all().item(), (keys[2] == keys[3]).item()
    (True, True)
  """
  dtype, kind = jnp.dtype(dtype), key_dtype(dtype)
  if not jnp.issubdtype(dtype, jnp.floating):
    x = jnp.abs(x) if magnitude and jnp.issubdtype(dtype, jnp.signedinteger) else x
    lowest = jnp.iinfo(kind).min
    if jnp.issubdtype(dtype, jnp.unsignedinteger) and dtype.itemsize == kind.itemsize:
      return jax.lax.bitcast_convert_type(x.astype(dtype), kind) ^ lowest
    return x.astype(kind)
  exact = x.astype(jnp.float64 if dtype.itemsize == 8 else jnp.float32)
  bits = jax.lax.bitcast_convert_type(exact, kind)
  size = bits & jnp.iinfo(kind).max
  signed = size if magnitude else jnp.where(bits < 0, -size, size)
  infinity = 0x7FF0000000000000 if dtype.itemsize == 8 else 0x7F800000
  return jnp.where(size > infinity, jnp.asarray(nan_key(dtype), kind), signed)


def from_key(key: Array, dtype) -> Array:
  """The score of a key."""
  dtype = jnp.dtype(dtype)
  if not jnp.issubdtype(dtype, jnp.floating):
    if jnp.issubdtype(dtype, jnp.unsignedinteger) and dtype.itemsize == key.dtype.itemsize:
      return jax.lax.bitcast_convert_type(key ^ jnp.iinfo(key.dtype).min, dtype)
    return key.astype(dtype)
  float_dtype = jnp.float64 if key.dtype.itemsize == 8 else jnp.float32
  value = jax.lax.bitcast_convert_type(jnp.abs(key), float_dtype)
  return jnp.where(key < 0, -value, value).astype(dtype)


def nan_key(dtype) -> int | None:
  """The key of NaN, above all others; None for integers."""
  dtype = jnp.dtype(dtype)
  if not jnp.issubdtype(dtype, jnp.floating):
    return None
  return 0x7FF0000000000001 if dtype.itemsize == 8 else 0x7F810000  # a bfloat16, too


def low_zero_bits(dtypes) -> int:
  """How many low bits of every key of a finite score are 0."""
  return min(_LOW_ZERO_BITS.get(jnp.dtype(d), 0) for d in dtypes)
