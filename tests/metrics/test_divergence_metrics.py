from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden

from unlearnjax import metrics


def random_probs(seed, rows=50, classes=6, dtype=jnp.float32):
  return jax.nn.softmax(3 * jax.random.normal(jax.random.key(seed), (rows, classes)), axis=-1).astype(dtype)


def test_js_is_symmetric_and_bounded():
  p, q = random_probs(0), random_probs(1)
  js = metrics.js_divergence(p, q)
  assert js.shape == (50,)
  np.testing.assert_allclose(js, metrics.js_divergence(q, p), atol=1e-7)
  assert bool(jnp.all((js >= 0) & (js <= np.log(2) + 1e-7)))
  np.testing.assert_array_equal(metrics.js_divergence(p, p), 0)


def test_js_of_disjoint_rows_is_ln2():
  assert float(metrics.js_divergence(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))) == pytest.approx(np.log(2))


def test_js_and_kl_agree_with_scipy():
  from scipy.spatial.distance import jensenshannon
  from scipy.stats import entropy

  p, q = np.asarray(random_probs(0), np.float64), np.asarray(random_probs(1), np.float64)
  np.testing.assert_allclose(metrics.js_divergence(p, q), jensenshannon(p, q, axis=1) ** 2, atol=1e-6)
  np.testing.assert_allclose(metrics.kl(p, q), entropy(p, q, axis=1), rtol=1e-5)
  assert np.isinf(metrics.kl(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_zrf_is_one_minus_the_mean_js(dtype):
  p, q = random_probs(0, dtype=dtype), random_probs(1, dtype=dtype)
  expected = 1 - metrics.js_divergence(p, q).mean()
  np.testing.assert_allclose(metrics.zrf(p, q), expected, rtol=1e-6)
  np.testing.assert_allclose(jax.jit(metrics.zrf)(p, q), expected, rtol=1e-6)
  assert metrics.zrf(p, q).dtype == jnp.float32
  assert float(metrics.zrf(p, p)) == 1.0
  opposite = jnp.eye(2, dtype=dtype)
  assert float(metrics.zrf(opposite, opposite[::-1])) == pytest.approx(1 - np.log(2), abs=1e-6)


def test_activation_distance():
  p = random_probs(0)
  assert float(metrics.activation_distance(p, p)) == 0.0
  eye = jnp.eye(3)
  assert float(metrics.activation_distance(eye, jnp.roll(eye, 1, axis=0))) == pytest.approx(np.sqrt(2))


def test_figures_of_the_ssd_reference():
  z = golden("ssd")

  def probs(prefix, x):
    hidden = np.tanh(x @ z[f"{prefix}__0.weight"].T + z[f"{prefix}__0.bias"])
    return jax.nn.softmax(hidden @ z[f"{prefix}__2.weight"].T + z[f"{prefix}__2.bias"], axis=-1)

  model, teacher = probs("in_w0", z["in_xf"]), probs("in_gold", z["in_xf"])
  np.testing.assert_allclose(metrics.zrf(model, teacher, compat="ssd"), z["out_zrf"], rtol=1e-6)
  np.testing.assert_allclose(metrics.activation_distance(model, teacher), z["out_actv_dist_fixed"], rtol=1e-5)
  np.testing.assert_allclose(metrics.membership_entropy(model), z["out_entropy_forget"][:, 0], rtol=1e-5)
  both = np.concatenate([z["in_xr"], z["in_xt"]])
  np.testing.assert_allclose(
    metrics.membership_entropy(probs("in_w0", both)), z["out_entropy_retain_test"][:, 0], rtol=1e-5
  )


def test_the_figure_of_the_ssd_reference_is_not_the_js_divergence():
  p, q = random_probs(0), random_probs(1)
  assert abs(float(metrics.zrf(p, q)) - float(metrics.zrf(p, q, compat="ssd"))) > 0.05


def test_wasserstein1():
  from scipy.stats import wasserstein_distance

  rng = np.random.default_rng(0)
  a, b = rng.normal(size=40), rng.normal(2, 3, size=25)
  assert float(metrics.wasserstein1(a, a)) == 0.0
  np.testing.assert_allclose(metrics.wasserstein1(a, a - 1.5), 1.5, rtol=1e-5)
  np.testing.assert_allclose(metrics.wasserstein1(a, b), wasserstein_distance(a, b), rtol=1e-5)
  np.testing.assert_allclose(jax.jit(metrics.wasserstein1)(b, a), wasserstein_distance(a, b), rtol=1e-5)


def test_information_left_is_the_divergence_of_gaussians():
  mean, variance = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([0.5, 2.0])}
  assert float(metrics.information_left(mean, variance, mean, variance)) == 0.0
  x = np.random.default_rng(0).normal(size=200_000)
  log_density = lambda x, m, v: -((x - m) ** 2) / (2 * v) - np.log(v) / 2
  sample = 1.0 + np.sqrt(0.5) * x
  expected = np.mean(log_density(sample, 1.0, 0.5) - log_density(sample, 0.0, 2.0))
  found = metrics.information_left(jnp.array([1.0]), jnp.array([0.5]), jnp.array([0.0]), jnp.array([2.0]))
  np.testing.assert_allclose(found, expected, atol=0.01)
  with pytest.raises(ValueError, match="reference_variance must have the structure of mean"):
    metrics.information_left(mean, variance, mean, [variance["w"]])


def test_layer_distance():
  a = {"body": {"kernel": jnp.array([[3.0, 0.0]])}, "head": jnp.array([0.0, 4.0])}
  zero = jax.tree.map(jnp.zeros_like, a)
  found = jax.jit(metrics.layer_distance)(a, zero)
  assert float(found.total) == 5.0
  assert {k: float(v) for k, v in found.leaves.items()} == {"body/kernel": 3.0, "head": 4.0}
  assert float(metrics.layer_distance(a, a).total) == 0.0
  with pytest.raises(ValueError, match="head.*has shape"):
    metrics.layer_distance(a, {**zero, "head": jnp.zeros(3)})


def test_completeness():
  predictions, gold = jnp.array([0, 1, 2, 2, 1]), jnp.array([0, 1, 2, 0, 1])
  pairs = [set(enumerate(x.tolist())) for x in (predictions, gold)]
  jaccard = len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])
  assert float(metrics.completeness(predictions, gold)) == pytest.approx(0.8)
  assert float(metrics.completeness(predictions, gold, definition="jaccard")) == pytest.approx(jaccard)
  assert float(metrics.completeness(gold, gold, definition="jaccard")) == 1.0
  with pytest.raises(ValueError, match="take the argmax"):
    metrics.completeness(jnp.ones(3), jnp.ones(3))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: metrics.zrf(jnp.ones((2, 3)), jnp.ones((2, 3))), "rows that are >= 0 and sum to 1.*softmax"),
    (lambda: metrics.zrf(jnp.full((2, 2), jnp.nan), jnp.eye(2)), "sum to 1"),
    (lambda: metrics.kl(jnp.array([1.5, -0.5]), jnp.array([0.5, 0.5])), "minimum -0.5"),
    (lambda: metrics.js_divergence(jnp.eye(2), jnp.eye(3)), r"q must have the shape of p \(2, 2\), got \(3, 3\)"),
    (lambda: metrics.activation_distance(jnp.zeros((0, 3)), jnp.zeros((0, 3))), "p is empty"),
    (lambda: metrics.zrf(jnp.eye(2), jnp.eye(2), compat="paper"), "compat must be one of None, ssd"),
    (lambda: metrics.wasserstein1(jnp.zeros(0), jnp.zeros(3)), "a is empty"),
    (lambda: metrics.wasserstein1(jnp.zeros(3), jnp.zeros((3, 1))), r"b must be \[N\]"),
  ],
)
def test_divergences_refuse(call, message):
  with pytest.raises(ValueError, match=message):
    call()
