"""GEM over LoRA: the same step with another model function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import combine, objectives, reparam
from unlearnjax.core import UnlearnState, descend


def test_no_step_over_phi_raises_the_loss_of_a_memory():
  adapter = reparam.lora(rank=2, where="(fc|head)/kernel")
  fn = adapter.bind(mlp)
  phi, refs = adapter.init(jax.random.key(0), mlp_params())
  phi = jax.tree.map(lambda p: p + 0.1, phi)
  xent = objectives.cross_entropy(fn, train=False)
  memory = jax.tree.map(lambda *rows: jnp.stack(rows), *(random_role(seed) for seed in (3, 4)))
  step = descend(
    {"current": xent, "memory": objectives.per_task(xent)}, optax.sgd(1e-3), combine=combine.gem(margin=0.0)
  )
  state = step.init(UnlearnState.create(phi, rng=jax.random.key(0)))
  current = random_role(9, size=12)
  state, _ = jax.jit(step.update)(state, {"current": current, "memory": memory}, refs)
  rate = jax.tree.map(lambda a, b: (a - b) / 1e-3, phi, state.params)  # the gradient that GEM made

  def slope(batch):
    gradient = jax.grad(xent, has_aux=True)(phi, batch, view(refs=refs))[0]
    return sum(float(jnp.vdot(a, b)) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(rate)))

  slopes = [slope(jax.tree.map(lambda x, t=t: x[t], memory)) for t in (0, 1)]
  assert min(slopes) > -1e-3 and slope(current) > 0
  np.testing.assert_array_equal(refs["base"]["fc"]["bias"], mlp_params()["fc"]["bias"])
