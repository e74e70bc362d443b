from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import losses, objectives

PARAMS, BATCH = mlp_params(), random_role()
RNG = np.random.default_rng(0)
FEATURES = mlp(PARAMS, BATCH["inputs"], capture=("head:in",)).hidden["head:in"]


def test_prototype_descent_moves_features_to_their_target_and_leaves_the_head_alone():
  prototypes = jnp.asarray(RNG.normal(size=(4, 16)), jnp.float32)
  batch = {**BATCH, "target": losses.nearest_wrong_prototype(FEATURES, prototypes, BATCH["y"])}
  objective = objectives.prototype(mlp)
  v = view(refs={"prototypes": prototypes})
  gradient, _ = jax.grad(objective, has_aux=True)(PARAMS, batch, v)
  assert not any(g.any() for g in jax.tree.leaves(gradient["head"]))
  moved = jax.tree.map(lambda p, g: p - 0.3 * g, PARAMS, gradient)
  assert objective(moved, batch, v)[0] < objective(PARAMS, batch, v)[0]


def test_class_gaussian_weighs_examples_by_the_accuracy_of_their_class():
  root = jnp.asarray(RNG.normal(size=(4, 16, 16)), jnp.float32)
  moments = {
    "mean": jnp.asarray(np.abs(RNG.normal(size=(4, 16))), jnp.float32),
    "precision": root @ root.swapaxes(1, 2),
  }
  batch = random_role(seed=3, size=60)
  batch["target"] = (batch["y"] + 1) % 4
  out = mlp(PARAMS, batch["inputs"], capture=("head:in",))
  each = losses.mahalanobis_squared(out.hidden["head:in"], moments["mean"], moments["precision"], batch["target"])

  def value(removed, floor):
    refs = {"gaussians": moments, "forget_classes": jnp.asarray(removed)}
    return objectives.class_gaussian(mlp, floor=floor)(PARAMS, batch, view(refs=refs))[0]

  np.testing.assert_allclose(value([True] * 4, 0.8), each.mean(), rtol=1e-5)  # removed classes count fully
  y, right = np.asarray(batch["y"]), np.asarray(out.logits.argmax(-1) == batch["y"])
  accuracy = np.array([right[y == c].mean() for c in range(4)])
  np.testing.assert_allclose(value([False] * 4, 0.0), (each * accuracy[y]).mean(), rtol=1e-5)
  floor = float(accuracy.max()) - 1e-3
  kept = np.where(accuracy >= floor, accuracy, 0)
  assert 0 < (kept == 0).sum() < 4
  np.testing.assert_allclose(value([False] * 4, floor), (each * kept[y]).mean(), rtol=1e-5)


def test_surrogates_of_removed_classes_are_dropped_and_the_teacher_no_longer_names_them():
  teacher = mlp_params(1)
  z = mlp(teacher, BATCH["inputs"]).logits
  removed = jnp.arange(4) == z.argmax(-1)[0]
  refs = {"teacher": {"params": teacher}, "forget_classes": removed}
  value, aux = objectives.surrogate_distill(mlp, temperature=2.0)(PARAMS, BATCH, view(refs=refs))
  keep = ~removed[z.argmax(-1)]
  assert 0 < int(keep.sum()) < 12 and aux["weight"] == keep.sum()
  target = jax.nn.softmax(jnp.where(removed, z.min(), z) / 2.0)
  each = jnp.sum(target * (jnp.log(target) - jax.nn.log_softmax(mlp(PARAMS, BATCH["inputs"]).logits)), -1)
  np.testing.assert_allclose(value, jnp.sum(each * keep) / keep.sum(), rtol=1e-4)


def test_surrogate_loss_of_the_original_model_is_zero_when_no_class_is_removed():
  refs = {"teacher": {"params": PARAMS}, "forget_classes": jnp.zeros(4, bool)}
  for offset in (0.0, 1e-4):
    value, _ = objectives.surrogate_distill(mlp, offset=offset)(PARAMS, BATCH, view(refs=refs))
    np.testing.assert_allclose(value, 0, atol=1e-6)
