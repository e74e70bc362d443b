"""Products of matrices without the rounding that accelerators allow themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import jax

F = TypeVar("F", bound=Callable)


def full_precision(f: F) -> F:
  """`f` with every product of matrices inside it at the precision of its factors.

  By default a TPU rounds the factors of a float32 product to bfloat16, and a GPU to TF32. That is fine for the layers
  of a network; a projection would leave a thousandth of what it has to remove, and a bound would not be one.

  Example:
    >>> import jax.numpy as jnp
    >>> product = full_precision(lambda a, b: a @ b)
    >>> "HIGHEST" in str(jax.make_jaxpr(product)(jnp.eye(2), jnp.eye(2)))
    True
  """

  @functools.wraps(f)
  def run(*args, **kwargs):
    with jax.default_matmul_precision("highest"):
      return f(*args, **kwargs)

  return run
