"""Gram and rank-T update: equal to dense linear algebra on flattened trees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import kernels

SHAPES = {"a": (3, 5), "b": {"scale": (), "none": (0, 4)}, "c": (7,)}
TREE = jax.tree.structure(SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def tree(seed, lead=(), dtype=jnp.float32):
  shapes = jax.tree.leaves(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(TREE, [jnp.asarray(rng.normal(size=(*lead, *s)), dtype) for s in shapes])


def flat(tree, lead=0):
  leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
  return np.concatenate([x.reshape(*x.shape[:lead], -1) for x in leaves], axis=-1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("tasks", [1, 4])
def test_equals_dense_algebra(tasks, dtype):
  memory, current = tree(0, (tasks,), dtype), tree(1, (), dtype)
  rows, row = flat(memory, 1), flat(current)
  products, inner = kernels.gram(memory, current)
  assert products.dtype == inner.dtype == jnp.float32
  np.testing.assert_allclose(products, rows @ rows.T, rtol=1e-5, atol=1e-4)
  np.testing.assert_allclose(inner, rows @ row, rtol=1e-5, atol=1e-4)
  found = kernels.rank_update(current, memory, jnp.arange(1.0, tasks + 1))
  assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(lambda x: (x.shape, x.dtype), current)
  wanted = row + np.arange(1.0, tasks + 1) @ rows
  np.testing.assert_allclose(flat(found), wanted, rtol=1e-6 if dtype == jnp.float32 else 1e-2, atol=1e-5)


@pytest.mark.parametrize("size", [3 << 13, (3 << 13) + 5])
def test_long_leaves_are_taken_in_parts(size):
  rng = np.random.default_rng(0)
  rows, row = rng.normal(size=(3, size)), rng.normal(size=size)
  products, inner = kernels.gram(jnp.asarray(rows, jnp.float32), jnp.asarray(row, jnp.float32))
  np.testing.assert_allclose(products, rows @ rows.T, rtol=1e-5, atol=1e-2)
  np.testing.assert_allclose(inner, rows @ row, rtol=1e-5, atol=1e-2)


def test_what_does_not_fit_is_named():
  memory, current = tree(0, (4,)), tree(1)
  with pytest.raises(ValueError, match=r"memory at 'c' has shape \(4, 6\), expected \('T', 7\) with T = 4"):
    kernels.gram({**memory, "c": jnp.ones((4, 6))}, current)
  with pytest.raises(ValueError, match="memory must have the structure of current"):
    kernels.gram({"a": memory["a"]}, current)
  with pytest.raises(ValueError, match=r"coefficients must be f\[4\]"):
    kernels.rank_update(current, memory, jnp.ones(3))
  with pytest.raises(ValueError, match="memory has no leaves"):
    kernels.gram({}, {})
  with pytest.raises(ValueError, match="implementation must be one of auto, xla, pallas; got 'cuda'"):
    kernels.gram(memory, current, implementation="cuda")
