from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_net import mlp_params, model_of, random_role, tanh_mlp

from unlearnjax import curvature
from unlearnjax.core.types import EMPTY, Outputs

RNG = np.random.default_rng(0)


def test_integrated_gradients_of_a_linear_model_are_exact():
  w, x, x0 = (jnp.asarray(RNG.normal(size=5), jnp.float32) for _ in range(3))
  scores, error = curvature.integrated_gradients(lambda v: v @ w, x, x0)
  np.testing.assert_allclose(scores, w * (x - x0), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(error, 0, atol=1e-5)


def test_integrated_gradients_are_complete_as_steps_grow():
  params = mlp_params()
  f = lambda x: jnp.tanh(5 * tanh_mlp(params, {"x": 3 * x[None]}).logits[0, 1])
  x = random_role()["inputs"]["x"][0]
  errors = [abs(float(curvature.integrated_gradients(f, x, jnp.zeros(6), steps=s)[1])) for s in (5, 2000)]
  assert errors[1] < 1e-3 and errors[1] < errors[0]
  with pytest.raises(ValueError, match="baseline must have the shape of x"):
    curvature.integrated_gradients(f, x, jnp.zeros(5))


def test_grad_cam_weighs_channels_by_the_slope_of_the_target_logit():
  def fn(params, inputs, *, capture=(), inject=EMPTY, **_):
    h = inputs["x"] * 1.0
    h = inject["conv"](h) if "conv" in inject else h
    return Outputs(jnp.einsum("bhwc,ck->bk", h, params["w"]), {"conv": h} if capture else {})

  x = jnp.asarray(np.abs(RNG.normal(size=(2, 3, 3, 2))), jnp.float32)
  w = jnp.array([[1.0, 0.0], [-0.5, 2.0]])
  heat = curvature.grad_cam(model_of({"w": w}, fn), {"x": x}, jnp.array([0, 1]), "conv")
  want = np.maximum(np.stack([x[0] @ w[:, 0], x[1] @ w[:, 1]]), 0)
  np.testing.assert_allclose(heat, want / want.max((1, 2), keepdims=True), rtol=1e-5)


def test_concept_vector_of_two_shifted_gaussians_points_along_the_shift():
  shift = RNG.normal(size=6)
  a, b = RNG.normal(size=(400, 6)) + 2 * shift, RNG.normal(size=(400, 6)) - 2 * shift
  vector, intercept = curvature.concept_vector(a, b)
  cosine = vector @ shift / np.linalg.norm(vector) / np.linalg.norm(shift)
  assert cosine > 0.9
  margins = curvature.concept_margins(jnp.asarray(a), curvature.Concepts(vector[None], jnp.array([intercept])))
  assert (margins > 0).mean() > 0.95


def test_concept_head_names_the_concepts_of_a_class():
  margins = RNG.normal(size=(600, 5))
  labels = np.where(margins[:, 3] > 0.3, 0, np.where(margins[:, 1] > 0, 1, 2))
  head = curvature.concept_head(margins, labels, strength=1e-3)
  assert head.shape == (3, 5)
  assert int(curvature.defining_concepts(head, 0, 1)[0]) == 3
  binary = curvature.concept_head(margins, (margins[:, 2] > 0).astype(int))
  assert binary.shape == (2, 5) and int(curvature.defining_concepts(binary, 1, 1)[0]) == 2


def test_window_map_finds_a_planted_mark_and_has_the_published_size():
  image = np.zeros((56, 56, 1), np.float32)
  image[32:40, 16:24] = 1.0
  embed = lambda x: jnp.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], -1)
  heat = jax.jit(lambda i: curvature.window_map(i, jnp.array([1.0, 0.0]), embed, size=16, stride=4))(image)
  assert heat.shape == ((56 - 16) // 4 + 1,) * 2
  row, col = curvature.peak_centre(heat, size=16, stride=4)
  assert abs(int(row) - 36) <= 4 and abs(int(col) - 20) <= 4
  assert (224 - 64) // 16 + 1 == 11
  with pytest.raises(ValueError, match="size must be at most the side of the image 56 x 56, got 57"):
    curvature.window_map(jnp.asarray(image), jnp.ones(2), embed, size=57)


def test_a_patch_pasted_from_where_it_was_cut_changes_nothing_also_at_the_border():
  image = jnp.asarray(RNG.normal(size=(10, 12, 3)), jnp.float32)
  for centre in ((5, 6), (0, 0), (9, 11), (0, 11)):
    patch = curvature.crop_at(image, centre, 4)
    assert patch.shape == (4, 4, 3)
    np.testing.assert_array_equal(curvature.paste_at(image, patch, centre), image)
  pasted = curvature.paste_at(image, jnp.full((4, 4, 3), 9.0), (9, 11))
  assert (pasted == 9).sum() == 48 and (pasted[-4:, -4:] == 9).all()
  with pytest.raises(ValueError, match="patch must be square and fit into the image"):
    curvature.paste_at(image, jnp.zeros((11, 11, 3)), (5, 5))
