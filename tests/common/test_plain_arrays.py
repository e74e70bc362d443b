"""Losses, metrics, attacks and combiners on what people have at hand: lists, masked logits, sweeps, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unlearnjax import attacks, combine, losses, metrics

Z = jnp.array([[2.0, 1.0, -jnp.inf], [0.5, 3.0, -jnp.inf]])  # a class that is masked out
TWO = Z[:, :2]
P = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
NAN = np.array([[0.7, np.nan], [0.5, 0.5]])


def test_lists_are_arrays():
  probs, labels = P.tolist(), [0, 2]
  assert float(metrics.accuracy(probs, labels)) == 0.5
  np.testing.assert_allclose(losses.cross_entropy(probs, labels), losses.cross_entropy(P, np.array(labels)))
  assert metrics.confusion([0, 1], [1, 1], 2).tolist() == [[0, 1], [0, 1]]
  assert attacks.answer_rank(probs, labels).tolist() == [0, 1]


@pytest.mark.parametrize(
  "loss, want",
  [
    (losses.entropy, losses.entropy(TWO)),
    (lambda z: losses.distill_kl(z, 2 * z, 2.0), losses.distill_kl(TWO, 2 * TWO, 2.0)),
    (lambda z: losses.reverse_distill_kl(z, 2 * z), losses.reverse_distill_kl(TWO, 2 * TWO)),
    (lambda z: losses.distill_cross_entropy(z, 2 * z), losses.distill_cross_entropy(TWO, 2 * TWO)),
    (lambda z: losses.soft_cross_entropy(z, jnp.eye(3)[:2]), losses.soft_cross_entropy(TWO, jnp.eye(2))),
    (lambda z: losses.kl_to_probs(z, jnp.eye(3)[:2]), losses.kl_to_probs(TWO, jnp.eye(2))),
  ],
)
def test_a_class_at_minus_infinity_is_no_class(loss, want):
  value, slope = jax.value_and_grad(lambda z: loss(z).sum())(Z)
  np.testing.assert_allclose(value, want.sum(), rtol=1e-5)
  assert np.isfinite(slope).all()


def test_a_sweep_of_temperatures_is_one_vmap():
  sweep = jax.vmap(lambda t: losses.cross_entropy(TWO, jnp.array([0, 0]), t))(jnp.array([0.5, 2.0]))
  np.testing.assert_allclose(sweep[1], losses.cross_entropy(TWO, jnp.array([0, 0]), 2.0), rtol=1e-6)


def test_a_class_that_is_not_there_gives_nan_and_no_other_number():
  rows, far = jnp.ones((2, 3)), jnp.array([1, 7])
  tokens = dict(mask=jnp.array([[True, False]]))
  found = [
    losses.one_vs_all(rows, far, jnp.ones(3, bool)),
    losses.probability_margin(rows, far),
    losses.prototype_distance(rows, rows, far),
    losses.prototype_distance(rows, rows, jnp.array([1, -1])),
    losses.mahalanobis_squared(rows, rows, jnp.stack([jnp.eye(3)] * 2), far),
  ]
  assert all(np.isnan(x).tolist() == [False, True] for x in found)
  for loss in (losses.ceu, lambda z, y, mask: losses.undial(z, z, y, mask)):
    assert np.isnan(loss(jnp.ones((1, 2, 3)), jnp.array([[7, 0]]), **tokens)).tolist() == [[True, False]]
    assert np.isfinite(loss(jnp.ones((1, 2, 3)), jnp.array([[0, -100]]), **tokens)).all()


def test_no_forget_row_pushes_nothing():
  loss = lambda f: losses.contrastive_alignment(jnp.array([0.5]), f, 1.0, jnp.zeros(2, bool))[0]
  value, slope = jax.value_and_grad(loss)(jnp.array([0.1, 0.9]))
  assert value == 0.5 and slope.tolist() == [0, 0]


@pytest.mark.parametrize("combiner", [combine.mgda(), combine.cagrad()])
def test_combiners_in_float64(combiner):
  with jax.enable_x64(True):
    grads = {"a": {"w": jnp.array([1.0, 0.0])}, "b": {"w": jnp.array([0.0, 1.0])}}
    found = combiner.update(grads, (), grads["a"])[0]["w"]
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, [found[0]] * 2, rtol=1e-6)


ROW = {"w": jnp.ones(2)}


@pytest.mark.parametrize(
  "call, words",
  [
    (lambda: losses.cross_entropy(TWO, [0, 1], "hot"), "temperature must be a number"),
    (lambda: losses.cross_entropy(TWO, [0.0, 1.0]), "labels must be integers, got float32"),
    (lambda: losses.prototype_distance(TWO, TWO, [0.0, 1.0]), "class rows must be integers"),
    (lambda: losses.nearest_wrong(TWO[:, :1], [0, 0]), "at least two classes"),
    (lambda: metrics.accuracy(NAN, [0, 1]), "logits_or_probs must hold numbers, got NaN in 1 of 4"),
    (lambda: metrics.klom(NAN, NAN), "margins_unlearned must hold numbers"),
    (lambda: metrics.wasserstein1([1.0, np.nan], [2.0]), "a must hold numbers"),
    (lambda: metrics.mean_average_precision(NAN, NAN > 0), "scores must hold numbers"),
    (lambda: metrics.mean_average_precision(P, P), "targets must be 0 or 1"),
    (lambda: metrics.target_ranks(P, [0, 9]), "targets must lie in"),
    (lambda: metrics.mean_reciprocal_rank([0, 1]), "ranks must be >= 1"),
    (lambda: metrics.truth_ratio([-0.5], [[0.5]]), "mean_nll must be >= 0"),
    (lambda: metrics.truth_ratio([[0.5]], [[0.5]]), "mean_nll must be"),
    (lambda: metrics.priv_leak(0.5, 1.0), "retrained must not be 1"),
    (lambda: metrics.average_incremental_accuracy([[0.9]], first=False), "at least 2 tasks"),
    (lambda: metrics.average_accuracy([[0.9], [0.8, 0.9]]), "matrix must be numbers"),
    (lambda: metrics.average_anytime_accuracy([[90.0]], [0]), "curve must be a fraction"),
    (lambda: metrics.tow(0.9, 0.8), "scores must be a mapping"),
    (lambda: metrics.information_left([1.0], [-1.0], [1.0], [1.0]), "variance must hold variances > 0"),
    (lambda: metrics.binomial_ci(0.9, 100), "successes must be a count"),
    (lambda: metrics.interclass_confusion_error([0, 1], P[0, :2], (0, 1)), "predictions must be integers"),
    (lambda: metrics.squad_f1([3], ["a"]), "predictions must hold texts"),
    (lambda: attacks.threshold_mia(P, P, P, P), "shadow_members must be a pair"),
    (lambda: attacks.roc_report([0.1, 0.2], [0, 2]), "member must hold True or False"),
    (lambda: attacks.quantize({"kernel": TWO}, where="*kernel"), "where must be a regular expression"),
    (lambda: combine.weighted(forget=float("nan")), "must be a number"),
    (lambda: combine.weighted().update({"a": ROW, "b": {"w": jnp.ones(3)}}, (), ROW), "role 'b' of weighted"),
    (lambda: combine.pcgrad().update({"a": ROW}, (), None), "params must be the trained parameters"),
    (lambda: combine.mgda().update({"a": {"w": jnp.ones(3)}}, (), ROW), "role 'a' must hold one gradient"),
    (lambda: combine.cone_dual(jnp.eye(2), jnp.ones(3)), r"products must be \[T, T\]"),
    (
      lambda: optax.chain(combine.as_optax(combine.primal_dual({"a": 1.0}))).update(
        {"a": ROW}, (combine.primal_dual({"a": 1.0}).init(ROW),), ROW
      ),
      "primal_dual reads the losses",
    ),
  ],
)
def test_mistakes_are_named(call, words):
  with pytest.raises(ValueError, match=words):
    call()
