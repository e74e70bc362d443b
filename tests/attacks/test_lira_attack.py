from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from scipy.stats import norm

from unlearnjax import attacks


def test_logit_scaled_confidence_of_the_reference():
  z = golden("neurips23_forget_score")
  found = attacks.logit_scaled_confidence(z["in_logits"], z["in_targets"])
  np.testing.assert_allclose(found, z["out_logit_scaled_conf"], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(jax.nn.sigmoid(found), z["out_prob_correct"], rtol=1e-5)


def test_logit_scaled_confidence_does_not_overflow():
  logits = jnp.array([[1e4, 0.0, 0.0], [-1e4, 0.0, 0.0]])
  found = jax.jit(attacks.logit_scaled_confidence)(logits, jnp.array([0, 0]))
  np.testing.assert_allclose(found, [1e4 - np.log(2), -1e4 - np.log(2)])
  assert attacks.logit_scaled_confidence(logits.astype(jnp.bfloat16), jnp.array([0, 0])).dtype == jnp.float32
  with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\)"):
    attacks.logit_scaled_confidence(logits, jnp.array([0, 3]))
  with pytest.raises(ValueError, match="at least two classes"):
    attacks.logit_scaled_confidence(logits[:, :1], jnp.array([0, 0]))


def test_lira_is_the_log_ratio_of_gaussians():
  rng = np.random.default_rng(0)
  target, in_confs, out_confs = rng.normal(size=20), rng.normal(2, 1, (16, 20)), rng.normal(0, 2, (12, 20))
  density = lambda confs, sd: norm.logpdf(target, confs.mean(0), sd)
  expected = density(in_confs, in_confs.std(0, ddof=1)) - density(out_confs, out_confs.std(0, ddof=1))
  np.testing.assert_allclose(attacks.lira(target, in_confs, out_confs), expected, rtol=1e-10)
  pooled = lambda confs: np.sqrt(np.mean(confs.var(0, ddof=1)))
  expected = density(in_confs, pooled(in_confs)) - density(out_confs, pooled(out_confs))
  np.testing.assert_allclose(attacks.lira(target, in_confs, out_confs, fix_variance=True), expected, rtol=1e-10)
  offline = attacks.lira(target, None, out_confs)
  np.testing.assert_allclose(offline, norm.logcdf(target, out_confs.mean(0), out_confs.std(0, ddof=1)))


def test_nan_leaves_a_model_out():
  rng = np.random.default_rng(0)
  target, confs = rng.normal(size=5), rng.normal(size=(8, 5))
  with_gaps = np.concatenate([confs, np.full((3, 5), np.nan)])
  np.testing.assert_allclose(attacks.lira(target, with_gaps, confs + 1), attacks.lira(target, confs, confs + 1))
  gone = confs.copy()
  gone[1:, 2] = np.nan
  with pytest.raises(ValueError, match="out_confs needs two models for every example, got 1 for example 2"):
    attacks.lira(target, confs, gone)


def test_lira_separates_shifted_confidences_and_only_those():
  rng = np.random.default_rng(0)
  member = np.arange(2000) % 2 == 0
  for shift, low, high in ((0.0, 0.5 - 3 * np.sqrt(1 / 6000), 0.5 + 3 * np.sqrt(1 / 6000)), (6.0, 0.99, 1.0)):
    target = rng.normal(size=2000) + shift * member
    scores = attacks.lira(target, rng.normal(shift, 1, (32, 2000)), rng.normal(0, 1, (32, 2000)))
    assert low <= attacks.roc_report(scores, member).auc <= high


def test_models_that_agree_exactly_stay_finite():
  same = np.ones((4, 3))
  assert np.isfinite(attacks.lira(np.array([0.0, 1.0, 2.0]), same, same)).all()


def test_roc_report():
  from sklearn.metrics import roc_auc_score

  rng = np.random.default_rng(0)
  member = rng.random(3000) < 0.4
  scores = rng.normal(size=3000).round(1) + member
  report = attacks.roc_report(scores, member, fprs=(0.01, 0.5))
  assert report.auc == pytest.approx(roc_auc_score(member, scores))
  candidates = np.append(np.unique(scores), np.inf)
  rates = np.array([[np.mean(scores[kind] >= t) for kind in (member, ~member)] for t in candidates])
  for limit, value in report.tpr_at.items():
    assert value == rates[rates[:, 1] <= limit, 0].max()
  assert report.accuracy == pytest.approx(((rates[:, 0] + 1 - rates[:, 1]) / 2).max())


@pytest.mark.parametrize(
  ("scores", "member", "message"),
  [
    ([0.1, 0.2], [True, True], "both kinds, got 2 members of 2"),
    ([0.1, np.nan], [True, False], "scores must hold finite numbers, got 1 such as nan"),
    ([0.1, 0.2], [True], r"member must be bool\[2\]"),
  ],
)
def test_roc_report_refuses(scores, member, message):
  with pytest.raises(ValueError, match=message):
    attacks.roc_report(scores, member)


def test_lira_refuses():
  with pytest.raises(ValueError, match=r"in_confs must be \[M, 4\] like target_conf, got shape \(5, 3\)"):
    attacks.lira(np.zeros(4), np.zeros((5, 3)), np.zeros((5, 4)))
  with pytest.raises(ValueError, match="out_confs needs at least 2 models"):
    attacks.lira(np.zeros(4), np.zeros((5, 4)), np.zeros((1, 4)))
  with pytest.raises(ValueError, match="target_conf must hold finite numbers, got 1 such as inf"):
    attacks.lira([np.inf], np.zeros((5, 1)), np.zeros((5, 1)))


def test_ulira_leaves_each_pair_of_models_out():
  rng = np.random.default_rng(0)
  unlearned, never = rng.normal(0.5, 1, (6, 4)), rng.normal(size=(6, 4))
  result = attacks.ulira(unlearned, never)
  for m in range(6):
    rest = [np.delete(x, m, axis=0) for x in (unlearned, never)]
    for scores, confs in ((result.unlearned_scores, unlearned), (result.never_scores, never)):
      densities = [norm.logpdf(confs[m], r.mean(0), r.std(0, ddof=1)) for r in rest]
      np.testing.assert_allclose(scores[m], densities[0] - densities[1], rtol=1e-8)


def test_ulira_is_chance_on_identical_kinds_and_certain_on_shifted_ones():
  rng = np.random.default_rng(0)
  unlearned, never = rng.normal(size=(2, 32, 400))
  same = attacks.ulira(unlearned, never)
  assert abs(same.accuracy - 0.5) < 3 * 0.5 / np.sqrt(2 * 32 * 400) * np.sqrt(2)
  assert abs(same.auc - 0.5) < 0.015
  far = attacks.ulira(unlearned + 20, never)
  assert (far.accuracy, far.auc) == (1.0, 1.0)
  exact = attacks.ulira(np.ones((4, 2)), np.ones((4, 2)))
  assert exact.accuracy == 0.5


def test_ulira_refuses():
  with pytest.raises(ValueError, match="never_confs needs at least 3 models"):
    attacks.ulira(np.zeros((4, 3)), np.zeros((2, 3)))
  with pytest.raises(ValueError, match="never_confs must have the shape of unlearned_confs"):
    attacks.ulira(np.zeros((4, 3)), np.zeros((5, 3)))


def test_rmia_counts_dominated_population_examples():
  rng = np.random.default_rng(0)
  x, z = rng.random(30), rng.random(50)
  reference_x, reference_z = rng.random((3, 30)), rng.random((3, 50))
  found = attacks.rmia(x, reference_x, z, reference_z, gamma=1.5, a=0.4)
  ratio_x, ratio_z = x / (0.7 * reference_x.mean(0) + 0.3), z / reference_z.mean(0)
  np.testing.assert_allclose(found, np.mean(ratio_x[:, None] / ratio_z >= 1.5, axis=1))


def test_rmia_tells_members_from_others_when_the_model_knows_them():
  rng = np.random.default_rng(0)
  base = rng.uniform(0.2, 0.5, 600)
  member = np.arange(600) < 300
  reference = np.clip(base + rng.normal(0, 0.02, (4, 600)), 0, 1)
  target = np.clip(base + 0.4 * member, 0, 1)
  z = rng.uniform(0.2, 0.5, 300)
  score = attacks.rmia(target, reference, z, np.clip(z + rng.normal(0, 0.02, (4, 300)), 0, 1), gamma=1.0, a=1.0)
  assert attacks.roc_report(score, member).auc > 0.95
  null = attacks.rmia(base, reference, z, z[None], gamma=1.0, a=1.0)
  assert abs(attacks.roc_report(null, member).auc - 0.5) < 3 * np.sqrt(601 / (12 * 300 * 300))


def test_rmia_refuses():
  with pytest.raises(ValueError, match="gamma must be >= 1"):
    attacks.rmia([0.5], [[0.5]], [0.5], [[0.5]], gamma=0.5)
  with pytest.raises(ValueError, match="target_probs must be a fraction"):
    attacks.rmia([2.3], [[0.5]], [0.5], [[0.5]])
  with pytest.raises(ValueError, match=r"population_reference_probs must be \[M, 1\]"):
    attacks.rmia([0.5], [[0.5]], [0.5], [[0.5, 0.5]])
