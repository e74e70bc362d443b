"""Kronecker factors: exact where the theory says so, and what they say they are elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import enable_x64
from toy_net import batches_of, mlp_params, model_of, role, run, tanh_mlp

from unlearnjax import curvature, losses
from unlearnjax.core.types import EMPTY, Outputs

RNG = np.random.default_rng(0)


def conv(params, inputs, *, capture=(), inject=EMPTY, **_):
  """A convolution without padding, tanh, the mean over places, and a head."""
  hidden = {"conv:in": inputs["x"]}
  h = jax.lax.conv_general_dilated(
    inputs["x"], params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  h = inject.get("conv", lambda z: z)(h + params["conv"]["bias"])
  hidden |= {"conv": h}
  h = jnp.tanh(h).mean((1, 2))
  out = inject.get("head", lambda z: z)(h @ params["head"]["kernel"])
  return Outputs(out, {**hidden, "head:in": h, "head": out})


def conv_params():
  return {
    "conv": {"kernel": jnp.asarray(RNG.normal(size=(2, 2, 2, 3))), "bias": jnp.asarray(RNG.normal(size=3))},
    "head": {"kernel": jnp.asarray(RNG.normal(size=(3, 3)))},
  }


def affine(params, inputs, *, capture=(), inject=EMPTY, **_):
  out = inject.get("fc", lambda z: z)(inputs["x"] @ params["fc"]["kernel"] + params["fc"]["bias"])
  return Outputs(out, {"fc:in": inputs["x"], "fc": out})


def factors_of(fn, params, batches, **options):
  layers = tuple(params)
  return run(curvature.kfac_factors(fn, layers, **options), model_of(params, fn), batches)


def vector_like(params):
  return jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape)), params)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_blocks_of_one_example_are_those_of_the_gauss_newton_matrix(name):
  with enable_x64():
    if name == "mlp":
      fn, params, x = tanh_mlp, mlp_params(sizes=(4, 3, 3), dtype=jnp.float64), RNG.normal(size=(1, 4))
    else:  # one place only
      fn, params, x = conv, conv_params(), RNG.normal(size=(1, 2, 2, 2))
    batch = role(x, y=np.array([1]))
    factors = factors_of(fn, params, [batch], windows={"conv": ((1, 1), "VALID")})
    for layer in params:  # a vector in one block only
      v = jax.tree.map(jnp.zeros_like, params) | {layer: vector_like(params[layer])}
      want = curvature.ggn_vp(fn, losses.cross_entropy, params, batch, v)[layer]
      found = curvature.kfac_vp(factors, v)[layer]
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, want)


def test_a_linear_model_with_squared_error_is_solved_exactly_from_any_batches():
  with enable_x64():
    params = {"fc": {"kernel": jnp.asarray(RNG.normal(size=(4, 2))), "bias": jnp.zeros(2)}}
    x, y = RNG.normal(size=(11, 4)), RNG.normal(size=(11, 2))
    whole = role(x, y=y)
    factors = factors_of(affine, params, [whole], loss=losses.squared_error)
    for size in (4, 16):
      again = factors_of(affine, params, batches_of(x, y, size), loss=losses.squared_error)
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), again, factors)
    v = vector_like(params)
    product = lambda u: curvature.ggn_vp(affine, losses.squared_error, params, whole, u)
    found = curvature.kfac(factors, v, damping=0.3)
    want = curvature.cg(product, v, damping=0.3, tolerance=1e-13, strict=True)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11), found, want)
    inverse = lambda u: curvature.kfac(factors, u, damping=0.3)
    assert int(curvature.cg(product, v, damping=0.3, preconditioner=inverse, tolerance=1e-8)[1].iterations) <= 2


def test_every_form_is_the_inverse_of_the_matrix_it_names():
  square = lambda d: (lambda r: r @ r.T / d)(RNG.normal(size=(d, d + 2)))
  a, g, damping = square(5), square(3), 0.2
  v = {"kernel": RNG.normal(size=(4, 3)), "bias": RNG.normal(size=3)}
  flat = np.concatenate([v["kernel"], v["bias"][None]]).ravel()
  pi = np.sqrt((np.trace(a) / 5) / (np.trace(g) / 3))
  shifted = lambda p: np.kron(a + np.sqrt(damping) * p * np.eye(5), g + np.sqrt(damping) / p * np.eye(3))
  dense = {"exact": np.kron(a, g) + damping * np.eye(15), "pi": shifted(pi), "even": shifted(1.0)}
  with enable_x64():
    factors = {"fc": {"inputs": jnp.asarray(a), "outputs": jnp.asarray(g)}}
    tree = {"fc": jax.tree.map(jnp.asarray, v)}
    for form, matrix in dense.items():
      found = curvature.kfac(factors, tree, damping=damping, form=form)["fc"]
      found = np.concatenate([found["kernel"], found["bias"][None]]).ravel()
      np.testing.assert_allclose(found, np.linalg.solve(matrix, flat), rtol=1e-9)


def test_convolutions_sum_what_they_see_and_average_what_comes_back():
  params, x, y = jax.tree.map(lambda p: p.astype(jnp.float32), conv_params()), RNG.normal(size=(3, 3, 3, 2)), [0, 2, 1]
  x = x.astype(np.float32)
  options = dict(kind="per_sample", windows={"conv": ((1, 1), "VALID")})
  factors = factors_of(conv, params, [role(x, y=np.array(y))], **options)["conv"]
  a, g = np.zeros((9, 9)), np.zeros((3, 3))

  def shifted(h, image, label):
    logits = conv(params, {"x": image[None]}, inject={"conv": lambda z: z + h}).logits
    return losses.cross_entropy(logits, jnp.array([label]))[0]

  for image, label in zip(x, y):
    back = np.asarray(jax.grad(shifted)(jnp.zeros((1, 2, 2, 3)), image, label)).reshape(4, 3)
    g += back.T @ back / 4 / 3
    for i in (0, 1):
      for j in (0, 1):
        seen = np.append(image[i : i + 2, j : j + 2].ravel(), 1)
        a += np.outer(seen, seen) / 3
  np.testing.assert_allclose(factors["inputs"], a, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(factors["outputs"], g, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_drawn_labels_average_to_the_expected_factors():
  params = mlp_params(sizes=(4, 3, 3))
  many = role(np.repeat(RNG.normal(size=(1, 4)), 4000, 0).astype(np.float32), y=np.zeros(4000, np.int32))
  drawn = factors_of(tanh_mlp, params, [many], kind="model_sampled")
  exact = factors_of(tanh_mlp, params, [many])
  for layer in params:
    np.testing.assert_allclose(drawn[layer]["inputs"], exact[layer]["inputs"], rtol=1e-5)
    size = np.trace(exact[layer]["outputs"])
    np.testing.assert_allclose(drawn[layer]["outputs"] / size, exact[layer]["outputs"] / size, atol=0.05)


def test_leaves_without_factors():
  factors = {"fc": {"inputs": jnp.eye(2), "outputs": jnp.eye(1)}}
  v = {"fc": {"kernel": jnp.ones((2, 1))}, "norm": {"scale": jnp.ones(3)}}
  with pytest.raises(ValueError, match=r"no factors for \['norm/scale'\]"):
    curvature.kfac(factors, v, damping=0.5)
  assert curvature.kfac(factors, v, damping=0.5, rest="damping")["norm"]["scale"].tolist() == [2.0] * 3
  assert curvature.kfac(factors, v, damping=0.5, rest="keep")["norm"]["scale"].tolist() == [1.0] * 3
  assert curvature.kfac_vp(factors, v, rest="damping")["norm"]["scale"].tolist() == [0.0] * 3


def test_messages():
  params, batch = mlp_params(sizes=(4, 3, 3)), role(np.ones((2, 4), np.float32), y=np.zeros(2, np.int32))
  with pytest.raises(ValueError, match="kind must be one of expected, per_sample, model_sampled; got 'true'"):
    curvature.kfac_factors(tanh_mlp, ["fc"], kind="true")
  with pytest.raises(ValueError, match="layers is empty"):
    curvature.kfac_factors(tanh_mlp, [])
  with pytest.raises(ValueError, match="'body' is no layer with a kernel"):
    run(curvature.kfac_factors(tanh_mlp, ["body"]), model_of(params, tanh_mlp), [batch])
  factors = {"fc": {"inputs": jnp.eye(2), "outputs": jnp.eye(1)}}
  with pytest.raises(ValueError, match="damping must be > 0, got 0"):
    curvature.kfac(factors, {"fc": {"kernel": jnp.ones((2, 1))}}, damping=0)
  with pytest.raises(ValueError, match="factors of 'fc' are of 2 x 1 weights, vector has 3 x 1"):
    curvature.kfac(factors, {"fc": {"kernel": jnp.ones((3, 1))}}, damping=1)
