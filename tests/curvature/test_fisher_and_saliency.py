from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from toy_net import batches_of, from_torch, linear, mlp, mlp_params, model_of, random_role, role, run, tanh_mlp, view

from unlearnjax import curvature, objectives
from unlearnjax.core.fold import fold
from unlearnjax.core.source import Examples

PARAMS, BATCH = mlp_params(), random_role(size=24)
MODEL = model_of(PARAMS)
XENT = objectives.cross_entropy(mlp, train=False)
X, Y = np.asarray(BATCH["inputs"]["x"]), np.asarray(BATCH["y"])


def _close(a, b, rtol=1e-4, atol=1e-7):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def _loop():
  """The gradient of every example by itself, in order."""
  slope = jax.jit(jax.grad(XENT, has_aux=True))
  return [slope(PARAMS, role(X[i : i + 1], y=Y[i : i + 1]), view())[0] for i in range(len(X))]


def _mean(trees):
  return jax.tree.map(lambda *x: sum(x) / len(x), *trees)


def _squares(trees):
  return [jax.tree.map(jnp.square, t) for t in trees]


@pytest.mark.parametrize("microbatch", [1, 5, 24, 100])
def test_per_sample_fisher_equals_a_loop_for_any_microbatch_and_padding(microbatch):
  statistic = curvature.fisher_diag(XENT, microbatch=microbatch)
  want = _mean(_squares(_loop()))
  for size in (7, 24):
    _close(run(statistic, MODEL, batches_of(X, Y, size)), want)


def test_batch_mean_fisher_squares_the_mean_of_each_batch():
  gradients = _loop()
  for size in (1, 8):
    want = _mean(_squares([_mean(gradients[i : i + size]) for i in range(0, 24, size)]))
    _close(run(curvature.fisher_diag(XENT, kind="batch_mean", batch_size=size), MODEL, batches_of(X, Y, size)), want)


def test_batch_mean_at_size_one_is_per_sample():
  one = run(curvature.fisher_diag(XENT, kind="batch_mean", batch_size=1), MODEL, batches_of(X, Y, 1))
  _close(one, run(curvature.fisher_diag(XENT), MODEL, [BATCH]))


def test_expected_fisher_is_the_exact_expectation_over_labels():
  want = jax.tree.map(jnp.zeros_like, PARAMS)
  probs = jax.nn.softmax(mlp(PARAMS, BATCH["inputs"]).logits)
  for c in range(4):
    each = curvature.per_example_gradients(XENT, PARAMS, {**BATCH, "y": jnp.full(24, c)}, view())
    want = jax.tree.map(lambda w, g, c=c: w + jnp.tensordot(probs[:, c], g**2, 1) / 24, want, each)
  found = run(curvature.fisher_diag(mlp, kind="expected"), MODEL, batches_of(X, Y, 7))
  _close(found, want)


def test_sampled_fisher_is_an_unbiased_estimate_of_the_expected_one():
  many = role(np.repeat(X[:3], 1500, 0), y=np.zeros(4500, np.int32))
  sampled = run(curvature.fisher_diag(mlp, kind="model_sampled", microbatch=500), MODEL, [many])
  expected = run(curvature.fisher_diag(mlp, kind="expected"), MODEL, [role(X[:3], y=Y[:3])])
  for a, b in zip(jax.tree.leaves(sampled), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a.sum(), b.sum(), rtol=0.1)
  again = run(curvature.fisher_diag(mlp, kind="model_sampled", microbatch=500), MODEL, [many], seed=1)
  assert not np.array_equal(sampled["fc"]["kernel"], again["fc"]["kernel"])


def test_fisher_of_a_gaussian_model_is_the_second_moment_of_its_inputs():
  x = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
  # zero weights: p = 1/2, and E over labels of (p - e)^2 x^2 = x^2 / 4
  found = run(
    curvature.fisher_diag(linear, kind="expected", microbatch=256),
    model_of({"kernel": jnp.zeros((2, 2))}, linear),
    [role(x, y=np.zeros(2000, np.int32))],
  )
  np.testing.assert_allclose(found["kernel"], np.tile((x**2).mean(0)[:, None] / 4, 2), rtol=1e-4)


def test_fisher_reads_the_model_in_eval_mode():
  state = {"count": jnp.array(0)}
  with pytest.raises(ValueError, match="build it with train=False"):
    run(curvature.fisher_diag(objectives.cross_entropy(mlp)), model_of(PARAMS, state=state), [BATCH])
  _close(
    run(curvature.fisher_diag(XENT), model_of(PARAMS, state=state), [BATCH]),
    run(curvature.fisher_diag(XENT), MODEL, [BATCH]),
  )


def test_errors_of_arguments():
  with pytest.raises(ValueError, match="kind must be one of per_sample, batch_mean, .*, true_label; got 'emp"):
    curvature.fisher_diag(XENT, kind="empirical")
  with pytest.raises(ValueError, match="depends on the batch size"):
    curvature.fisher_diag(XENT, kind="batch_mean")


def test_gradient_is_exact_for_any_batch_size():
  want = _mean(_loop())
  for size in (5, 24):
    _close(run(curvature.gradient(XENT), MODEL, batches_of(X, Y, size)), want)
  total = run(curvature.gradient(XENT, reduce="sum"), MODEL, batches_of(X, Y, 7))
  _close(total, jax.tree.map(lambda g: 24 * g, want), rtol=1e-3, atol=1e-5)
  with pytest.raises(ValueError, match=r"needs an objective that reports aux\['weight'\]"):
    run(curvature.gradient(lambda p, b, v: (jnp.sum(p["fc"]["bias"]), {})), MODEL, [BATCH])


def test_fold_runs_the_statistics_over_a_source():
  source = Examples({"x": X, "y": Y})
  found = fold(curvature.fisher_diag(XENT, kind="batch_mean", batch_size=8), MODEL, source)
  _close(found, run(curvature.fisher_diag(XENT, kind="batch_mean", batch_size=8), MODEL, batches_of(X, Y, 8)))


def test_saliency_is_absolute_last_and_blind_to_the_sign():
  gradients = _loop()
  want = jax.tree.map(lambda *g: jnp.abs(sum(sum(g[i : i + 8]) / 8 for i in (0, 8, 16))), *gradients)
  _close(run(curvature.saliency(XENT), MODEL, batches_of(X, Y, 8)), want, atol=1e-6)
  _close(run(curvature.saliency(objectives.negated(XENT)), MODEL, batches_of(X, Y, 8)), want, atol=1e-6)


@pytest.mark.parametrize("density", [0.01, 0.29, 0.5, 1.0])
def test_top_saliency_keeps_an_exact_number_also_among_ties(density):
  scores = {"a": jnp.zeros((10, 5)), "b": jnp.ones(50)}
  mask = jax.jit(functools.partial(curvature.top_saliency, density=density))(scores)
  kept = [int(m.sum()) for m in jax.tree.leaves(mask)]
  assert sum(kept) == round(density * 100)
  assert kept[1] == min(50, round(density * 100))  # the larger scores go first


def test_top_saliency_equals_a_threshold_where_no_scores_tie():
  scores = jax.tree.map(jnp.abs, _loop()[0])
  flat = np.sort(np.concatenate([np.ravel(s) for s in jax.tree.leaves(scores)]))
  mask = curvature.top_saliency(jax.tree.map(jnp.negative, scores), 0.25)
  gamma = flat[-int(0.25 * flat.size)]
  jax.tree.map(lambda m, s: np.testing.assert_array_equal(m, s >= gamma), mask, scores)
  with pytest.raises(ValueError, match=r"density must be in \(0, 1\], got 0"):
    curvature.top_saliency(scores, 0)


def test_layer_moments_are_those_of_the_flattened_tensors():
  gradients = _loop()
  moments = curvature.layer_moments(gradients[0], gradients[1], PARAMS)
  f, r, p = (np.asarray(t["head"]["kernel"]).ravel() for t in (gradients[0], gradients[1], PARAMS))
  found = moments["head/kernel"]
  np.testing.assert_allclose(
    [found[k] for k in ("forget", "retain", "inner", "weight")], [f @ f, r @ r, f @ r, p @ p], rtol=1e-4
  )
  assert sorted(moments) == ["fc/bias", "fc/kernel", "head/bias", "head/kernel"]


@pytest.mark.golden
@pytest.mark.parametrize("size", [1, 8])
def test_golden_importances_of_selective_synaptic_dampening(size):
  z = golden("ssd")
  model = model_of(from_torch(z, "in_w0__"), tanh_mlp)
  statistic = curvature.fisher_diag(objectives.cross_entropy(tanh_mlp, train=False), kind="batch_mean", batch_size=size)
  for data, name in (("f", "fimp"), ("r", "oimp")):
    batches = batches_of(z[f"in_x{data}"].astype(np.float32), z[f"in_y{data}"].astype(np.int32), size)
    _close(run(statistic, model, batches), from_torch(z, f"out_bs{size}_{name}__"), rtol=1e-5, atol=1e-9)


@pytest.mark.golden
@pytest.mark.parametrize("density", ["0.1", "0.5", "1.0"])
def test_golden_masks_of_salun(density):
  z = golden("salun")
  model = model_of(from_torch(z, "in_w__"), tanh_mlp)
  batches = batches_of(z["in_forget_x"], z["in_forget_y"].astype(np.int32), 8)
  scores = run(curvature.saliency(objectives.cross_entropy(tanh_mlp, train=False)), model, batches)
  mask = curvature.top_saliency(scores, float(density))
  jax.tree.map(np.testing.assert_array_equal, mask, from_torch(z, f"out_mask{density}__", bool))


@pytest.mark.golden
def test_golden_fisher_of_sparse_unlearning():
  z = golden("influence_fisher_leace")
  model = model_of(from_torch(z, "in_w__"), tanh_mlp)
  statistic = curvature.fisher_diag(objectives.cross_entropy(tanh_mlp, train=False))
  found = run(statistic, model, batches_of(z["in_xr"], z["in_yr"].astype(np.int32), 16))
  _close(found, from_torch(z, "out_fisher__"), rtol=1e-5)
