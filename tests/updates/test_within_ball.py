"""Staying in a ball around a reference."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unlearnjax.updates import within_ball


def test_steps_inside_are_left_alone_and_others_end_on_the_sphere():
  key = jax.random.key(0)
  centre = {"a": jax.random.normal(key, (3, 2)), "b": jnp.ones(4)}
  params = jax.tree.map(lambda c: c + 0.01, centre)
  tx = within_ball("centre", 0.5)
  for size, inside in ((0.001, True), (5.0, False)):
    step = {name: jnp.full(c.shape, size) for name, c in centre.items()}
    found, _ = tx.update(step, tx.init(params), params, refs={"centre": centre})
    away = optax.tree.norm(jax.tree.map(lambda p, u, c: p + u - c, params, found, centre))
    if inside:
      jax.tree.map(np.testing.assert_array_equal, found, step)
    else:
      assert float(away) == pytest.approx(0.5, rel=1e-5)


def test_messages():
  with pytest.raises(ValueError, match="radius must be > 0"):
    within_ball("centre", 0.0)
  with pytest.raises(ValueError, match="within_ball needs refs\\['centre'\\]; found \\['base'\\]"):
    within_ball("centre", 1.0).update({"w": jnp.ones(1)}, optax.EmptyState(), {"w": jnp.ones(1)}, refs={"base": 0})
  with pytest.raises(ValueError, match="the centre 'centre' at 'w' has shape"):
    within_ball("centre", 1.0).update(
      {"w": jnp.ones(1)}, optax.EmptyState(), {"w": jnp.ones(1)}, refs={"centre": {"w": jnp.ones(2)}}
    )
