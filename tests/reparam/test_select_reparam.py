from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import objectives, reparam
from unlearnjax.core import UnlearnState, descend

PARAMS = mlp_params()


def test_only_the_selected_leaves_are_trained_and_their_gradient_is_the_full_one():
  head = reparam.select("head/.*")
  phi, refs = head.init(jax.random.key(0), PARAMS)
  assert set(phi) == {"head"} and refs["base"] is PARAMS
  fn, batch = head.bind(mlp), random_role()
  found = jax.grad(objectives.cross_entropy(fn), has_aux=True)(phi, batch, view(refs=refs))[0]
  full = jax.grad(objectives.cross_entropy(mlp), has_aux=True)(PARAMS, batch, view())[0]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), found["head"], full["head"])
  step = descend({"retain": objectives.cross_entropy(fn)}, optax.adamw(0.1, weight_decay=0.5))
  state = step.init(UnlearnState.create(phi, rng=jax.random.key(0)))
  state, _ = step.update(state, {"retain": batch}, refs)
  merged = head.merge(state.params, refs)
  jax.tree.map(np.testing.assert_array_equal, merged["fc"], PARAMS["fc"])
  assert jnp.all(merged["head"]["kernel"] != PARAMS["head"]["kernel"])


def test_everything_selected_is_the_identity_and_orders_do_not_matter():
  for where in (".*", ("head/.*", "fc/.*"), ("head/bias", "head/kernel", "fc/.*")):
    every = reparam.select(where)
    phi, refs = every.init(jax.random.key(0), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, every.merge(phi, refs), PARAMS)


def test_a_selection_that_covers_nothing_is_an_error():
  for where, message in (
    ("heads/.*", "matches no whole leaf name"),
    ("(", "must be a regular expression"),
    ((), "at least one"),
  ):
    with pytest.raises(ValueError, match=f"where .*{message}"):
      reparam.select(where).init(jax.random.key(0), PARAMS)
