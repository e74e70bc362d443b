"""LAF, JiT and UNSIR: objectives that read no label, or no data at all."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import losses, objectives

PARAMS, BATCH = mlp_params(), random_role()
NO_LABELS = {k: v for k, v in BATCH.items() if k != "y"}


def _vae(params, features, key):
  mean = features @ params["in"]
  log_variance = mean * 0.1
  code = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
  return code @ params["out"], mean, log_variance


def _vae_params(seed):
  rng = np.random.default_rng(seed)
  return {
    "in": jnp.asarray(rng.normal(size=(16, 3)), jnp.float32) / 4,
    "out": jnp.asarray(rng.normal(size=(3, 16)), jnp.float32) / 2,
  }


def test_alignment_of_the_original_model_is_minus_r_log_f():
  pair = objectives.alignment(mlp, retain_size=12)
  refs = {"teacher": {"params": PARAMS}}
  forget = {**NO_LABELS, "valid": jnp.arange(12) < 7}
  value = pair["retain"](PARAMS, NO_LABELS, view(refs=refs))[0] + pair["forget"](PARAMS, forget, view(refs=refs))[0]
  np.testing.assert_allclose(value, -12 * np.log(7), rtol=1e-4)


def test_alignment_splits_the_published_sum_over_roles():
  moved, t = mlp_params(3), 5.0
  refs = {"teacher": {"params": PARAMS}}
  pair = objectives.alignment(mlp, retain_size=12, temperature=t)
  value = sum(pair[r](moved, NO_LABELS, view(refs=refs))[0] for r in pair)
  site = lambda p: mlp(p, BATCH["inputs"], capture=("head:in",)).hidden["head:in"]
  c = losses.cosine_distance(site(moved), site(PARAMS))
  np.testing.assert_allclose(value, jnp.sum(jnp.log(jnp.exp(c) / jnp.sum(jnp.exp(c / t)))), rtol=1e-5)
  gradient = jax.grad(pair["retain"], has_aux=True)(moved, NO_LABELS, view(refs=refs))[0]
  assert not any(g.any() for g in jax.tree.leaves(gradient["head"]))


def test_an_empty_forget_batch_keeps_the_alignment_finite():
  empty = {**NO_LABELS, "valid": jnp.zeros(12, bool)}
  forget = objectives.alignment(mlp, retain_size=12)["forget"]
  value, gradient = jax.value_and_grad(forget, has_aux=True)(
    mlp_params(3), empty, view(refs={"teacher": {"params": PARAMS}})
  )
  assert value[0] == 0 and all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_extraction_keeps_retained_and_drives_away_forgotten_features():
  refs = {"vae": _vae_params(0), "vae_forget": _vae_params(1)}
  pair = objectives.extraction(mlp, _vae)
  retain, aux = pair["retain"](PARAMS, NO_LABELS, view(refs=refs))
  forget, _ = pair["forget"](PARAMS, NO_LABELS, view(refs=refs))
  assert 12 <= retain < 12 * np.e and -12 * np.e < forget <= -12 and "weight" not in aux


def test_feature_vae_trains_on_features_of_the_frozen_model():
  objective = objectives.feature_vae(mlp, _vae)
  params, v = _vae_params(0), view(refs={"teacher": {"params": PARAMS}})
  (before, aux), gradient = jax.value_and_grad(objective, has_aux=True)(params, NO_LABELS, v)
  after, _ = objective(jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient), NO_LABELS, v)
  assert after < before and aux["weight"] == 12


def test_lipschitz_sums_over_rows_and_is_reproducible():
  objective = objectives.lipschitz(mlp, sigma=0.1, samples=3, low=None, high=None)
  whole, aux = objective(PARAMS, NO_LABELS, view())
  assert "weight" not in aux and whole == objective(PARAMS, NO_LABELS, view())[0]
  assert whole != objective(PARAMS, NO_LABELS, view(seed=1))[0]
  parts = [objective(PARAMS, {**NO_LABELS, "valid": jnp.arange(12) % 2 == i}, view())[0] for i in (0, 1)]
  np.testing.assert_allclose(whole, sum(parts), rtol=1e-5)


def test_lipschitz_gradient_flows_through_the_clean_branch_only():
  objective = objectives.lipschitz(mlp, sigma=0.1, samples=2, low=None, high=None)
  gradient = jax.grad(objective, has_aux=True)(PARAMS, NO_LABELS, view())[0]
  # with both branches differentiated the head's bias would cancel
  assert jnp.abs(gradient["head"]["bias"]).max() > 1e-3


def test_error_maximising_noise_raises_the_loss_and_pays_for_its_size():
  params = {"noise": BATCH["inputs"]["x"]}
  v = view(refs={"teacher": {"params": PARAMS}})
  objective = objectives.error_maximizing_noise(mlp, l2=0.1)
  value, _ = objective(params, BATCH, v)
  loss = lambda x: losses.cross_entropy(mlp(PARAMS, {"x": x}).logits, BATCH["y"]).mean()
  x = params["noise"]
  np.testing.assert_allclose(value, -loss(x) + 0.1 * jnp.sum(x**2, -1).mean(), rtol=1e-5)
  gradient = jax.grad(objectives.error_maximizing_noise(mlp, l2=0.0), has_aux=True)(params, BATCH, v)[0]
  assert loss(x - gradient["noise"]) > loss(x)


def test_label_free_objectives_have_no_argument_for_labels():
  for factory in (objectives.alignment, objectives.extraction, objectives.feature_vae, objectives.lipschitz):
    assert not {"target", "label", "y"} & set(inspect.signature(factory).parameters)
  with pytest.raises(ValueError, match="sigma must be > 0, got 0"):
    objectives.lipschitz(mlp, sigma=0)
