"""Small language models whose weights are drawn by NumPy: nothing is compiled to make them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Model
from unlearnjax.models import Transformer, transformer


def toy_lm(name: str, std: float = 0.2, **sizes) -> Model:
  """A model of a family with normal weights, and scales of norms around what they start as."""
  return filled(transformer(name, **sizes), std)


def filled(fn: Transformer, std: float = 0.2) -> Model:
  noise = np.random.default_rng(0)

  def leaf(path, x):
    center = path[-1].key == "scale" and not fn.config.norm_offset
    return jnp.asarray(center + std * noise.standard_normal(x.shape), x.dtype)

  return Model(jax.tree_util.tree_map_with_path(leaf, fn.abstract), fn=fn)
