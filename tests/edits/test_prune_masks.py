from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import edits, objectives, updates
from unlearnjax.core.types import Outputs

PARAMS = mlp_params()
RNG = np.random.default_rng(0)
CONV = {
  "conv": {"kernel": jnp.asarray(RNG.normal(size=(3, 3, 2, 5)), jnp.float32), "bias": jnp.ones(5)},
  "head": {"kernel": jnp.asarray(RNG.normal(size=(5, 2)), jnp.float32)},
}


@pytest.mark.parametrize("sparsity", [0.0, 0.29, 0.5, 0.9, 0.95])
def test_exactly_the_largest_convolution_weights_stay(sparsity):
  mask = edits.magnitude_mask(CONV, sparsity)
  keep = math.ceil(round((1 - sparsity) * 90, 6))
  size = np.abs(np.asarray(CONV["conv"]["kernel"]))
  np.testing.assert_array_equal(mask["conv"]["kernel"], size >= np.sort(size.ravel())[-keep])
  assert mask["conv"]["bias"].all() and mask["head"]["kernel"].all()


def test_the_count_is_global_over_all_chosen_leaves():
  mask = edits.magnitude_mask(PARAMS, 0.75, edits.any_kernel)
  kept = int(mask["fc"]["kernel"].sum() + mask["head"]["kernel"].sum())
  assert kept == (6 * 16 + 16 * 4) // 4 and mask["fc"]["bias"].all()
  with pytest.raises(ValueError, match="where chooses no leaf; found"):
    edits.magnitude_mask(PARAMS, 0.5)
  with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got 1"):
    edits.magnitude_mask(CONV, 1)


def test_pruned_weights_stay_exactly_zero_while_the_rest_is_trained():
  mask = edits.magnitude_mask(PARAMS, 0.75, edits.any_kernel)
  params = edits.apply_mask(PARAMS, mask)
  tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9), updates.mask_by("mask"))
  state, objective = tx.init(params), objectives.cross_entropy(mlp)
  for _ in range(3):
    gradient = jax.grad(objective, has_aux=True)(params, random_role(), view())[0]
    step, state = tx.update(gradient, state, params, refs={"mask": mask})
    params = optax.apply_updates(params, step)
  assert all(not np.asarray(p)[~np.asarray(m)].any() for p, m in zip(jax.tree.leaves(params), jax.tree.leaves(mask)))


def test_synflow_scores_are_conserved_from_layer_to_layer():
  # without biases the flow through every layer is the same number
  bare = jax.tree.map(lambda p: p if p.ndim > 1 else jnp.zeros_like(p), PARAMS)
  scores = edits.synflow_scores(mlp, bare, (6,))
  flow = mlp(jax.tree.map(jnp.abs, bare), {"x": jnp.ones((1, 6))}).logits.sum()
  for layer in ("fc", "head"):
    np.testing.assert_allclose(scores[layer]["kernel"].sum(), flow, rtol=1e-5)
  flipped = edits.synflow_scores(mlp, jax.tree.map(jnp.negative, bare), (6,))
  jax.tree.map(np.testing.assert_array_equal, scores, flipped)


def test_synflow_keeps_the_exact_number_and_never_cuts_a_layer_off():
  mask = jax.jit(lambda p: edits.synflow_mask(mlp, p, (6,), 0.9, edits.any_kernel, rounds=50))(PARAMS)
  kept = [int(mask[layer]["kernel"].sum()) for layer in ("fc", "head")]
  assert sum(kept) == 16 and min(kept) > 0
  assert mask["fc"]["bias"].all()
  # what is left lies on whole paths: a hidden unit has inputs iff it has outputs
  np.testing.assert_array_equal(mask["fc"]["kernel"].any(0), mask["head"]["kernel"].any(1))


def test_one_round_of_synflow_is_a_cut_by_score():
  scores = edits.synflow_scores(mlp, PARAMS, (6,))
  mask = edits.synflow_mask(mlp, PARAMS, (6,), 0.5, edits.any_kernel, rounds=1)
  inside = np.concatenate([np.ravel(scores[k]["kernel"][mask[k]["kernel"]]) for k in ("fc", "head")])
  outside = np.concatenate([np.ravel(scores[k]["kernel"][~mask[k]["kernel"]]) for k in ("fc", "head")])
  assert inside.min() >= outside.max()


def test_weights_removed_once_never_return():
  flat = lambda params, inputs, **_: Outputs(inputs["x"] @ params["kernel"])  # all scores of kept weights differ
  params = {"kernel": jnp.array([[1.0, 0.0], [0.0, 2.0], [0.5, 0.0]])}
  mask = edits.synflow_mask(flat, params, (3,), 0.5, edits.any_kernel, rounds=3)
  assert mask["kernel"].tolist() == [[True, False], [False, True], [True, False]]
