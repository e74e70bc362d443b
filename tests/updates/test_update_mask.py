from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import objectives, updates
from unlearnjax.core.descend import descend
from unlearnjax.core.state import UnlearnState

PARAMS = mlp_params()
MASK = jax.tree.map(lambda p: jax.random.bernoulli(jax.random.key(0), 0.5, p.shape), PARAMS)


def _steps(tx, refs, params=PARAMS, count=4):
  objective, batch, state = objectives.cross_entropy(mlp), random_role(), tx.init(params)
  for _ in range(count):
    gradient = jax.grad(objective, has_aux=True)(params, batch, view())[0]
    moved, state = tx.update(gradient, state, params, refs=refs, slots={}, view=view())
    params = optax.apply_updates(params, moved)
  return params


def _bits(x):
  return np.asarray(x).view(np.uint32)


@pytest.mark.parametrize(
  "tx", [optax.adamw(0.1, weight_decay=0.1), optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))]
)
def test_frozen_weights_stay_bit_equal_under_decay_and_momentum(tx):
  start = jax.tree.map(lambda p: p.at[..., 0].set(-0.0), PARAMS)  # adding +0.0 would flip the sign of -0.0
  end = _steps(optax.chain(tx, updates.mask_by("m")), {"m": MASK}, start)
  for a, b, m in zip(*(jax.tree.leaves(t) for t in (start, end, MASK))):
    m = np.asarray(m)
    np.testing.assert_array_equal(_bits(a)[~m], _bits(b)[~m])
    assert (np.asarray(a)[m] != np.asarray(b)[m]).mean() > 0.5


def test_a_mask_that_comes_first_leaks():
  start = jax.tree.map(lambda p: p + 1.0, PARAMS)
  end = _steps(optax.chain(updates.mask_by("m"), optax.adamw(0.1, weight_decay=0.1)), {"m": MASK}, start)
  moved = [(a != b)[~m].any() for a, b, m in zip(*(jax.tree.leaves(t) for t in (start, end, MASK)))]
  assert all(moved)


def test_a_full_mask_changes_no_bit():
  full = jax.tree.map(jnp.ones_like, MASK)
  plain, masked = _steps(optax.adam(0.1), {}), _steps(optax.chain(optax.adam(0.1), updates.mask_by("m")), {"m": full})
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(_bits(a), _bits(b)), plain, masked)


def test_float_masks_scale_updates_and_slots_serve_too():
  tx = updates.mask_by("m", source="slots")
  mask = {"w": jnp.array([0.0, 0.5, 1.0])}
  found, _ = tx.update({"w": jnp.full(3, 2.0)}, tx.init({}), slots={"m": mask})
  assert found["w"].tolist() == [0.0, 1.0, 2.0]


def test_it_stands_last_in_a_descend():
  step = descend(
    {"forget": objectives.cross_entropy(mlp)}, optax.chain(optax.adamw(0.1, weight_decay=0.5), updates.mask_by("m"))
  )
  state = step.init(UnlearnState.create(PARAMS, rng=jax.random.key(0)))
  for _ in range(2):
    state, _ = jax.jit(step.update)(state, {"forget": random_role()}, {"m": MASK})
  for a, b, m in zip(*(jax.tree.leaves(t) for t in (PARAMS, state.params, MASK))):
    np.testing.assert_array_equal(np.asarray(a)[~np.asarray(m)], np.asarray(b)[~np.asarray(m)])


def test_masks_that_are_missing_or_do_not_fit_are_errors():
  tx = updates.mask_by("saliency")
  with pytest.raises(ValueError, match=r"mask_by needs refs\['saliency'\]; found \['other'\]"):
    tx.update(PARAMS, tx.init(PARAMS), refs={"other": MASK})
  with pytest.raises(ValueError, match="the mask 'saliency' must have the structure of the parameters"):
    tx.update(PARAMS, tx.init(PARAMS), refs={"saliency": MASK["fc"]})
  with pytest.raises(ValueError, match="source must be one of refs, slots; got 'batch'"):
    updates.mask_by("m", source="batch")
