from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unlearnjax import combine
from unlearnjax.core import UnlearnState, View, descend


def run(dual, steps, tx=None):
  """min (x - 3)^2 subject to x^2 <= 1, whose solution is x = 1 with multiplier 2."""
  loss = {
    "forget": lambda p, b, v: (jnp.square(p["x"] - 3), {"weight": 1.0}),
    "retain": lambda p, b, v: (jnp.square(p["x"]), {"weight": 1.0}),
  }
  step = descend(loss, tx or optax.sgd(0.02), combine=dual)
  state = step.init(UnlearnState.create({"x": jnp.zeros(())}, rng=jax.random.key(0)))
  body = lambda state, _: (step.update(state, {"forget": {}, "retain": {}}, {})[0], None)
  state, _ = jax.lax.scan(body, state, length=steps)
  return float(state.params["x"]), float(state.opt_state["main"][0]["retain"])


def test_it_finds_the_constrained_minimum_and_its_multiplier():
  x, mu = run(combine.primal_dual({"retain": 1.0}, rate=0.05, start=0.0), 3000)
  np.testing.assert_allclose([x, mu], [1.0, 2.0], rtol=1e-3)


def test_the_multiplier_is_never_negative_and_vanishes_where_the_limit_does_not_bind():
  x, mu = run(combine.primal_dual({"retain": 100.0}, rate=0.5, start=1.0), 500)
  np.testing.assert_allclose([x, mu], [3.0, 0.0], atol=1e-3)


def test_without_steps_of_the_dual_it_is_a_weighted_sum():
  fixed = run(combine.primal_dual({"retain": 1.0}, rate=9.0, start=0.5, warmup=0.9, forget=2.0), 50)
  plain = descend({"x": lambda p, b, v: (2 * jnp.square(p["x"] - 3) + 0.5 * jnp.square(p["x"]), {})}, optax.sgd(0.02))
  state = plain.init(UnlearnState.create({"x": jnp.zeros(())}, rng=jax.random.key(0)))
  for _ in range(50):
    state, _ = plain.update(state, {"x": {}}, {})
  np.testing.assert_allclose(fixed, [float(state.params["x"]), 0.5], rtol=1e-5)


def test_warm_up_reads_the_progress_of_the_plan():
  dual = combine.primal_dual({"retain": 1.0}, rate=2.0, warmup=0.5)
  after = {}
  for progress in (0.4, 0.6):
    view = View(0, None, {}, {}, (), progress=jnp.array(progress))
    _, state = dual.update(
      {"retain": {}, "forget": {}}, dual.init({}), {}, values={"retain": jnp.array(2.0)}, view=view
    )
    after[progress] = float(state["retain"])
  assert after == {0.4: 1.0, 0.6: 3.0}


def test_errors_name_the_role():
  with pytest.raises(ValueError, match="needs at least one limit"):
    combine.primal_dual({})
  with pytest.raises(ValueError, match="rate must be > 0"):
    combine.primal_dual({"retain": 1.0}, rate=0.0)
  with pytest.raises(ValueError, match=r"limits or coefficients for \['keep'\], but the roles are"):
    run(combine.primal_dual({"keep": 1.0}), 1)
