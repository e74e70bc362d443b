from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import batches_of, mlp, mlp_params, model_of, random_role, run

from unlearnjax import curvature, edits, objectives

PARAMS, FORGET, RETAIN = mlp_params(), mlp_params(1), mlp_params(2)


def _moments(**layers):
  keys = ("forget", "retain", "inner", "weight")
  return {f"{name}/kernel": dict(zip(keys, values)) for name, values in layers.items()}


def test_scores_are_relative_norm_and_absolute_cosine():
  moments = curvature.layer_moments(FORGET, RETAIN, PARAMS)
  f, r, p = (np.asarray(t["fc"]["kernel"]).ravel() for t in (FORGET, RETAIN, PARAMS))
  want = (np.linalg.norm(f) / np.linalg.norm(p), abs(f @ r) / np.linalg.norm(f) / np.linalg.norm(r))
  found = edits.layer_scores(moments)
  np.testing.assert_allclose(found["fc/kernel"], want, rtol=1e-4)
  assert sorted(found) == ["fc/kernel", "head/kernel"]  # biases are never edited


def test_scaling_weights_and_gradient_together_leaves_the_ranking():
  scale = lambda tree: {**tree, "fc": jax.tree.map(lambda x: 7 * x, tree["fc"])}
  before = edits.layer_scores(curvature.layer_moments(FORGET, RETAIN, PARAMS))
  after = edits.layer_scores(curvature.layer_moments(scale(FORGET), RETAIN, scale(PARAMS)))
  np.testing.assert_allclose(before["fc/kernel"], after["fc/kernel"], rtol=1e-4)


def test_the_front_drops_layers_that_are_beaten_in_both_and_keeps_ties():
  moments = _moments(best=(9, 1, 0.3, 1), beaten=(4, 1, 0.4, 1), aligned=(16, 1, 3.2, 1), tie=(9, 1, 0.3, 1))
  assert edits.pareto_layers(moments) == ["aligned/kernel", "best/kernel", "tie/kernel"]
  assert edits.pareto_layers(_moments(one=(1, 1, 1, 1))) == ["one/kernel"]
  assert edits.pareto_layers(_moments(same=(4, 1, 1, 1), less=(4, 1, 0.5, 1))) == ["same/kernel", "less/kernel"]


def test_a_layer_without_forget_gradient_or_with_zero_weights_does_not_break_the_front():
  moments = _moments(dead=(0, 1, 0, 1), fresh=(1, 1, 0, 0), plain=(1, 0, 0, 1))
  assert edits.pareto_layers(moments) == ["fresh/kernel", "plain/kernel"]


def test_the_edit_changes_one_leaf_and_is_undone_by_its_inverse():
  assert edits.step_along(PARAMS, "fc/kernel", FORGET, 0.0)["fc"]["kernel"].tolist() == PARAMS["fc"]["kernel"].tolist()
  found = edits.step_along(PARAMS, "fc/kernel", FORGET, 0.5)
  changed = [(a != b).any() for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(PARAMS))]
  assert sum(map(bool, changed)) == 1
  back = edits.step_along(found, "fc/kernel", FORGET, -0.5)
  np.testing.assert_allclose(back["fc"]["kernel"], PARAMS["fc"]["kernel"], atol=1e-6)
  with pytest.raises(ValueError, match="path must be one of fc/bias, fc/kernel, head/bias, head/kernel; got 'fc'"):
    edits.step_along(PARAMS, "fc", FORGET, 1.0)


@pytest.mark.parametrize("start", [0.01, 0.3, 5.0])
def test_the_search_brackets_and_bisects_towards_the_smallest_step(start):
  found = edits.search_step(lambda lam: float(lam < 0.7), start, target=0.0, max_evals=20)
  assert found.met and 0.7 <= found.step < 0.71 and len(found.trials) == 20
  steps = [step for step, _ in found.trials]
  assert steps[0] == start and all(value <= 0 for step, value in found.trials if step >= 0.7)


def test_a_search_that_never_meets_its_target_says_so():
  found = edits.search_step(lambda lam: 1.0, 0.5, target=0.0, max_evals=4)
  assert not found.met and found.trials == [(0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 1.0)] and found.step == 4.0
  with pytest.raises(ValueError, match="start must be > 0, got -0.1"):
    edits.search_step(lambda lam: 1.0, -0.1)


def test_the_pieces_together_ascend_the_forget_loss_in_one_layer():
  batch = random_role()
  x, y = np.asarray(batch["inputs"]["x"]), np.asarray(batch["y"])
  xent = objectives.cross_entropy(mlp, train=False)
  forget = run(curvature.gradient(objectives.negated(xent)), model_of(PARAMS), batches_of(x[:6], y[:6], 4))
  retain = run(curvature.gradient(xent), model_of(PARAMS), batches_of(x[6:], y[6:], 4))
  moments = curvature.layer_moments(forget, retain, PARAMS)
  path = edits.pareto_layers(moments)[0]
  loss = lambda p: float(curvature_loss(p, x[:6], y[:6]))
  right = lambda lam: -loss(edits.step_along(PARAMS, path, forget, lam))
  found = edits.search_step(right, edits.initial_step(moments, path), target=-loss(PARAMS) - 0.5)
  assert found.met and found.step > 0


def curvature_loss(params, x, y):
  logits = mlp(params, {"x": x}).logits
  return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])
