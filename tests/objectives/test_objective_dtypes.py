"""Every objective under jit and vmap, and in bfloat16."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import mlp, mlp_params, random_role, view

from unlearnjax import losses, objectives

PARAMS = mlp_params()
BATCH = {**random_role(), "target": jnp.zeros(12, jnp.int32), "forget": jnp.arange(12) < 4}
REFS = {
  "teacher": {"params": mlp_params(1)},
  "bad_teacher": {"params": mlp_params(2)},
  "proxy": {"params": mlp_params(3)},
  "prototypes": jnp.ones((4, 16)),
  "gaussians": {"mean": jnp.ones((4, 16)), "precision": jnp.stack([jnp.eye(16)] * 4)},
  "forget_classes": jnp.array([True, False, False, False]),
}
ALL = {
  "cross_entropy": objectives.cross_entropy(mlp),
  "random_label": objectives.random_label(mlp, exclude_true=True),
  "uncertain": objectives.uncertain(mlp),
  "ascent": objectives.negated(objectives.cross_entropy(mlp, temperature=2.0)),
  "distill": objectives.distill(mlp, temperature=4.0),
  "bad_teacher": objectives.bad_teacher(mlp)["forget"],
  "marked": objectives.marked(*objectives.bad_teacher(mlp).values()),
  "attention_distill": objectives.attention_distill(mlp),
  "prototype": objectives.prototype(mlp),
  "class_gaussian": objectives.class_gaussian(mlp),
  "surrogate_distill": objectives.surrogate_distill(mlp),
  "boundary_shrink": objectives.boundary_shrink(mlp, curvature=0.7, reweight=True),
  "shadow_class": objectives.shadow_class(mlp),
  "lipschitz": objectives.lipschitz(mlp, sigma=0.1, samples=2),
  "alignment": objectives.alignment(mlp, retain_size=12)["forget"],
  "l1": objectives.penalty(losses.l1_norm),
}


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_parameters_give_finite_gradients_of_their_dtype(name):
  params, refs = (
    jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, t) for t in (PARAMS, REFS)
  )
  batch = {**BATCH, "inputs": {"x": BATCH["inputs"]["x"].astype(jnp.bfloat16)}}
  step = jax.jit(lambda p: jax.value_and_grad(ALL[name], has_aux=True)(p, batch, view(refs=refs)))
  (value, _), gradient = step(params)
  assert value.dtype == jnp.float32 and jnp.isfinite(value)
  assert all(g.dtype == jnp.bfloat16 and jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", ALL)
def test_many_parameter_sets_at_once_equal_one_at_a_time(name):
  several = [mlp_params(seed) for seed in (0, 4)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *several)
  run = lambda p: ALL[name](p, BATCH, view(refs=REFS))[0]
  np.testing.assert_allclose(jax.vmap(run)(stacked), [run(p) for p in several], rtol=1e-4)


def test_a_marked_mixture_is_the_loss_of_the_paper_and_an_adversary_sees_the_moved_inputs():
  value, aux = objectives.marked(*objectives.bad_teacher(mlp, temperature=2.0).values())(PARAMS, BATCH, view(refs=REFS))
  logits = [mlp(p, BATCH["inputs"]).logits for p in (PARAMS, mlp_params(1), mlp_params(2))]
  np.testing.assert_allclose(value, losses.bad_teacher_kl(*logits, BATCH["forget"], 2.0).mean(), rtol=1e-5)
  assert aux["weight"] == 12
  moved = objectives.fgsm(mlp, PARAMS, BATCH["inputs"], BATCH["y"], eps=0.2, low=None, high=None)
  seen = objectives.adversary(mlp, eps=0.2, low=None, high=None)(PARAMS, {**BATCH["inputs"], "cond": BATCH["y"]})
  np.testing.assert_allclose(seen.logits, mlp(PARAMS, {"x": moved}).logits, rtol=1e-5)
