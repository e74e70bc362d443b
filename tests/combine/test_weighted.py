from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp_params

from unlearnjax import combine

GRADS = {"retain": mlp_params(0), "forget": mlp_params(1), "extra": mlp_params(2)}


def test_it_is_the_linear_combination_with_one_for_roles_that_are_not_named():
  combiner = combine.weighted(retain=0.95, forget=-0.05)
  found, state = jax.jit(combiner.update)(GRADS, combiner.init(GRADS["retain"]), GRADS["retain"])
  want = jax.tree.map(lambda r, f, e: 0.95 * r - 0.05 * f + e, *GRADS.values())
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, want)
  assert state == ()


def test_weights_before_the_backward_are_those_of_the_update():
  combiner = combine.weighted(forget=-2.0)
  assert combiner.weights((), tuple(GRADS)) == {"retain": 1.0, "forget": -2.0, "extra": 1.0}


def test_gradients_keep_their_dtype():
  half = jax.tree.map(lambda g: g.astype(jnp.bfloat16), GRADS)
  found, _ = combine.weighted(forget=-0.5).update(half, (), half["retain"])
  assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}


def test_empty_trees_of_a_fused_backward_pass_through():
  assert combine.weighted().update({"a": {}, "b": {}}, (), {}) == ({}, ())


def test_roles_that_do_not_exist_are_named_before_and_during_the_update():
  combiner = combine.weighted(retian=0.5)
  message = r"coefficients for \['retian'\], but the roles are \['extra', 'forget', 'retain'\]"
  with pytest.raises(ValueError, match=message):
    combiner.weights((), tuple(GRADS))
  with pytest.raises(ValueError, match=message):
    combiner.update(GRADS, (), GRADS["retain"])
  with pytest.raises(ValueError, match="the coefficient of 'retain' must be a number, got 'half'"):
    combine.weighted(retain="half")


def test_as_optax_leads_a_chain_and_passes_extra_arguments_on():
  seen = {}
  inner = combine.weighted(forget=-1.0)

  def update(grads, state, params, *, values=None, view=None, valid=None):
    seen.update(values=values, view=view, valid=valid)
    return inner.update(grads, state, params)

  tx = optax.chain(combine.as_optax(inner._replace(update=update)), optax.sgd(0.1))
  params = GRADS["retain"]
  updates, _ = tx.update(GRADS, tx.init(params), params, values={"retain": 1.0}, view="v", valid={}, batch=None)
  want = jax.tree.map(lambda r, f, e: -0.1 * (r - f + e), *GRADS.values())
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates, want)
  assert seen == {"values": {"retain": 1.0}, "view": "v", "valid": {}}


def test_as_optax_refuses_a_single_gradient():
  with pytest.raises(ValueError, match="must be a mapping {role: gradient}, got ArrayImpl"):
    combine.as_optax(combine.weighted()).update(jnp.ones(2), ())
