"""Dampening, squares, masked updates and moments: formulas, dtypes, what must not matter, errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unlearnjax import edits, kernels

RNG = np.random.default_rng(0)
DRAW = lambda dtype=jnp.float32: {
  k: jnp.asarray(RNG.normal(size=s), dtype) for k, s in {"w": (5, 7), "none": (0, 2), "scale": ()}.items()
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dampening_is_the_edit_and_the_formula(dtype):
  theta, a, b = DRAW(dtype), jax.tree.map(jnp.square, DRAW()), jax.tree.map(jnp.square, DRAW())
  found = kernels.dampen(theta, a, b, alpha=1.5, lam=0.5)
  jax.tree.map(np.testing.assert_array_equal, found, edits.ssd(theta, a, b, alpha=1.5, lam=0.5))
  t, d, f = (np.asarray(x["w"], np.float64) for x in (theta, a, b))
  wanted = np.where(f > 1.5 * d, t * np.minimum(0.5 * d / f, 1), t)
  np.testing.assert_allclose(np.asarray(found["w"], np.float64), wanted, rtol=1e-2 if dtype == jnp.bfloat16 else 1e-6)
  assert found["w"].dtype == dtype


def test_squares_are_summed_in_float32_and_a_weight_of_zero_hides_nan():
  total = {"w": jnp.zeros(3)}
  gradient = {"w": jnp.array([1.0 + 2**-7, 300.0, -2.0], jnp.bfloat16)}
  found = kernels.accumulate_square(total, gradient, 0.5)["w"]
  np.testing.assert_array_equal(found, 0.5 * np.asarray(gradient["w"], np.float32) ** 2)
  bad = {"w": jnp.full(3, jnp.nan)}
  for how in ("xla", "pallas"):
    np.testing.assert_array_equal(kernels.accumulate_square(total, bad, 0.0, implementation=how)["w"], 0)


def test_a_masked_update_keeps_bits_whatever_the_update_holds():
  params, updates = DRAW(), DRAW()
  params["w"] = params["w"].at[0, 0].set(-0.0)
  mask = jax.tree.map(lambda x: x > 0, DRAW())
  updates = jax.tree.map(lambda u, m: jnp.where(m, u, jnp.nan), updates, mask)
  found = jax.jit(kernels.masked_update)(params, updates, mask)
  for key, m in mask.items():
    f, p, u, m = (np.asarray(x) for x in (found[key], params[key], updates[key], m))
    np.testing.assert_array_equal(f[~m].view(np.int32), p[~m].view(np.int32))
    np.testing.assert_array_equal(f[m], p[m] + u[m])


def test_moments_of_many_small_numbers_do_not_saturate():
  ones = {"w": jnp.full(1 << 22, 1.0, jnp.bfloat16), "none": jnp.ones((0, 3)), "scale": jnp.array(2.0)}
  found = kernels.layer_moments(ones, ones, ones)
  np.testing.assert_allclose([float(v) for v in found["w"].values()], 1 << 22, rtol=1e-5)
  assert [float(v) for v in found["none"].values()] == [0] * 4 and float(found["scale"]["inner"]) == 4


def test_trees_that_do_not_fit_are_refused_by_name():
  tree, other = DRAW(), {**DRAW(), "w": jnp.ones((5, 8))}
  for call, name in (
    (lambda: kernels.dampen(tree, other, tree, alpha=1, lam=1), "importance_all"),
    (lambda: kernels.accumulate_square(tree, other), "gradient"),
    (lambda: kernels.masked_update(tree, tree, other), "mask"),
    (lambda: kernels.layer_moments(tree, other, tree), "gradient_retain"),
  ):
    with pytest.raises(ValueError, match=rf"{name} at 'w' has shape \(5, 8\)"):
      call()
  with pytest.raises(ValueError, match="updates must have the structure of params"):
    kernels.masked_update(tree, {"w": tree["w"]}, tree)
