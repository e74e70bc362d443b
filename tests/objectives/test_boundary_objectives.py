from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import linear, mlp_params, random_role, role, tanh_mlp, view

from unlearnjax import losses, objectives

ORIGINAL, PARAMS, BATCH = mlp_params(0), mlp_params(1), random_role()
REFS = {"teacher": {"params": ORIGINAL}}
FREE = {"low": None, "high": None}


def _labels(eps):
  moved = objectives.fgsm(tanh_mlp, ORIGINAL, BATCH["inputs"], BATCH["y"], eps=eps, **FREE)
  return moved, tanh_mlp(ORIGINAL, {"x": moved}).logits.argmax(-1)


def test_fgsm_moves_by_eps_against_the_label_and_stays_in_range():
  moved, _ = _labels(0.05)
  x = BATCH["inputs"]["x"]
  np.testing.assert_allclose(jnp.abs(moved - x), 0.05, atol=1e-5)
  loss = lambda x: losses.cross_entropy(tanh_mlp(ORIGINAL, {"x": x}).logits, BATCH["y"]).mean()
  assert loss(moved) > loss(x)
  inside = objectives.fgsm(tanh_mlp, ORIGINAL, {"x": jnp.clip(x, 0, 1)}, BATCH["y"], eps=0.5)
  assert inside.min() >= 0 and inside.max() <= 1


def test_shrink_is_cross_entropy_to_the_adversarial_label_of_the_original_model():
  objective = objectives.boundary_shrink(tanh_mlp, eps=0.4, **FREE)
  value, aux = objective(PARAMS, BATCH, view(refs=REFS))
  _, labels = _labels(0.4)
  want = losses.cross_entropy(tanh_mlp(PARAMS, BATCH["inputs"]).logits, labels).mean()
  np.testing.assert_allclose(value, want, rtol=1e-5)
  np.testing.assert_allclose(aux["crossed"], (labels != BATCH["y"]).mean(), rtol=1e-6)
  assert aux["weight"] == 12


def test_without_a_step_the_label_is_the_prediction_of_the_original_model():
  value, _ = objectives.boundary_shrink(tanh_mlp, eps=0.0, **FREE)(PARAMS, BATCH, view(refs=REFS))
  labels = tanh_mlp(ORIGINAL, BATCH["inputs"]).logits.argmax(-1)
  np.testing.assert_allclose(
    value, losses.cross_entropy(tanh_mlp(PARAMS, BATCH["inputs"]).logits, labels).mean(), rtol=1e-5
  )


def test_curvature_is_the_change_of_the_input_gradient_along_the_signed_step():
  h = 0.9
  found = objectives.input_curvature(tanh_mlp, PARAMS, BATCH["inputs"], BATCH["y"], h=h)
  for i in range(3):
    x, y = BATCH["inputs"]["x"][i], BATCH["y"][i]
    slope = jax.grad(lambda x, y=y: losses.cross_entropy(tanh_mlp(PARAMS, {"x": x[None]}).logits, y[None])[0])
    sign = jnp.sign(slope(x))
    want = jnp.linalg.norm(slope(x + h * sign / jnp.linalg.norm(sign)) - slope(x))
    np.testing.assert_allclose(found[i], want, rtol=1e-4)


def test_curvature_term_vanishes_at_the_original_model_and_has_a_gradient_elsewhere():
  plain = objectives.boundary_shrink(tanh_mlp, eps=0.4, **FREE)
  bent = objectives.boundary_shrink(tanh_mlp, eps=0.4, curvature=0.7, **FREE)
  v = view(refs=REFS)
  np.testing.assert_allclose(bent(ORIGINAL, BATCH, v)[0], plain(ORIGINAL, BATCH, v)[0], rtol=1e-6)
  value, aux = bent(PARAMS, BATCH, v)
  k = [objectives.input_curvature(tanh_mlp, p, BATCH["inputs"], BATCH["y"]) for p in (ORIGINAL, PARAMS)]
  np.testing.assert_allclose(value - plain(PARAMS, BATCH, v)[0], 0.7 * jnp.linalg.norm(k[0] - k[1]) / 12, rtol=1e-3)
  assert "weight" not in aux  # a norm over the batch is no mean
  gradient = jax.grad(bent, has_aux=True)(ORIGINAL, BATCH, v)[0]
  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_reweighting_multiplies_each_example():
  objective = objectives.boundary_shrink(tanh_mlp, eps=0.4, reweight=True, **FREE)
  moved, labels = _labels(0.4)
  weights = losses.margin_weights(tanh_mlp(ORIGINAL, {"x": moved}).logits, labels)
  each = losses.cross_entropy(tanh_mlp(PARAMS, BATCH["inputs"]).logits, labels)
  np.testing.assert_allclose(objective(PARAMS, BATCH, view(refs=REFS))[0], (weights * each).mean(), rtol=1e-5)


def test_shadow_class_is_the_last_one():
  batch = role(np.eye(3, dtype=np.float32))
  value, _ = objectives.shadow_class(linear)({"kernel": jnp.zeros((3, 5)).at[:, 4].set(2.0)}, batch, view())
  np.testing.assert_allclose(value, np.log(np.exp(2) + 4) - 2, rtol=1e-5)


def test_errors_name_the_argument():
  with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
    objectives.fgsm(tanh_mlp, PARAMS, BATCH["inputs"], BATCH["y"], eps=-1)
  with pytest.raises(ValueError, match="curvature must be >= 0"):
    objectives.boundary_shrink(tanh_mlp, curvature=-0.1)
