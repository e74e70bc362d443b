from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common_paths import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_lm import bigram, bigram_model, bigram_params, sentences

from unlearnjax import losses, metrics, models
from unlearnjax.core import Examples, Model, Outputs


@pytest.fixture(scope="module")
def figures():
  return golden("open_unlearning_metrics")


def aligned(z, role):
  return losses.next_tokens(
    jnp.asarray(z[f"in_{role}_logits"]), jnp.asarray(z[f"in_{role}_ids"]), jnp.asarray(z[f"in_{role}_labels"] != -100)
  )


@pytest.mark.golden
def test_probability_memorization_and_extraction_of_the_reference_implementation(figures):
  z = figures
  logits, targets, mask = aligned(z, "forget")
  mean_nll = losses.reduce_seq_mean(losses.token_nll(logits, targets, mask), mask)
  np.testing.assert_allclose(mean_nll, z["out_avg_loss_i"], rtol=1e-5)
  probability = metrics.answer_probability(mean_nll)
  np.testing.assert_allclose(probability, z["out_prob_i"], rtol=1e-5)
  np.testing.assert_allclose(probability.mean(), z["out_probability"], rtol=1e-5)
  correct, scored = jnp.argmax(logits, -1) == targets, losses.drop_last(mask)
  np.testing.assert_allclose(metrics.exact_memorization(correct, scored), z["out_em_i"], rtol=1e-5)
  theirs = metrics.extraction_strength(correct, scored, compat="open_unlearning")
  np.testing.assert_allclose(theirs, z["out_es_i"], rtol=1e-5)
  np.testing.assert_allclose(theirs.mean(), z["out_extraction_strength"], rtol=1e-5)
  ours = np.asarray(metrics.extraction_strength(correct, scored))
  floor = np.isclose(z["out_es_i"], 1 / np.asarray(scored.sum(-1))) & ~np.asarray(correct)[:, -2]
  np.testing.assert_allclose(ours[~floor], z["out_es_i"][~floor], rtol=1e-5)
  assert (ours <= theirs).all()


@pytest.mark.golden
def test_truth_ratios_of_the_reference_implementation(figures):
  z = figures
  ratio = metrics.truth_ratio(z["in_correct_avg_loss"], z["in_wrong_avg_loss"])
  for theirs, definition in (
    ("closer_to_1_better", "closer_to_1"),
    ("true_better", "true_better"),
    ("prob_mean", "knowledge"),
  ):
    rows = metrics.truth_score(ratio, definition=definition)
    kept = rows if theirs == "prob_mean" else ratio  # the other two keep the ratio of each example, not its score
    np.testing.assert_allclose(kept, z[f"out_truth_ratio_{theirs}_i"], rtol=1e-4)
    np.testing.assert_allclose(rows.mean(), z[f"out_truth_ratio_{theirs}"], rtol=1e-4)
  found = metrics.answer_probability(z["in_correct_avg_loss"], z["in_wrong_avg_loss"])
  np.testing.assert_allclose(found, z["out_prob_w_options_i"], rtol=1e-5)
  np.testing.assert_allclose(found.mean(), z["out_prob_w_options"], rtol=1e-5)


@pytest.mark.golden
def test_quality_leak_and_utility_of_the_reference_implementation(figures):
  z = figures
  np.testing.assert_allclose(
    metrics.forget_quality(z["in_tr_forget"], z["in_tr_retain"]).p_value, z["out_forget_quality"], rtol=1e-9
  )
  np.testing.assert_allclose(metrics.harmonic_mean(z["in_hm_values"]), z["out_hm_aggregate"], rtol=1e-9)
  np.testing.assert_allclose(metrics.priv_leak(0.31, 0.47), z["out_privleak"], rtol=1e-8)
  np.testing.assert_allclose(metrics.priv_leak(0.31, 0.47, definition="rel_diff"), z["out_rel_diff"], rtol=1e-8)


@pytest.mark.golden
def test_rouge_of_the_reference_implementation(figures):
  pytest.importorskip("rouge_score")
  z = figures
  texts = z["in_rouge_gen"].tolist(), z["in_rouge_gt"].tolist()
  np.testing.assert_allclose(metrics.rouge(*texts), z["out_rougeL_recall"], rtol=1e-9)
  np.testing.assert_allclose(metrics.rouge(*texts, measure="f1"), z["out_rougeL_f1"], rtol=1e-9)
  np.testing.assert_allclose(metrics.rouge(*texts, kind="rouge1"), z["out_rouge1_recall"], rtol=1e-9)


def test_stemming_changes_rouge():
  pytest.importorskip("rouge_score")
  pair = ["Her full names are Hsiao Yun Hwa, an author."], ["The author's full name is Hsiao Yun-Hwa."]
  f1 = lambda **kw: metrics.rouge(*pair, measure="f1", **kw)[0]
  recall = lambda **kw: metrics.rouge(*pair, **kw)[0]
  np.testing.assert_allclose([recall(), recall(kind="rouge1"), recall(stemmer=False)], [5 / 9, 6 / 9, 4 / 9], rtol=1e-9)
  np.testing.assert_allclose(metrics.verbatim_memorization(*pair)[0], f1(stemmer=False))
  assert metrics.knowledge_memorization(["b d\nQuestion: a c"], ["a b c d"])[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("n", "p"), [(40, 1.860e-23), (200, 1.943e-119), (300, 1.480e-179), (400, 1.064e-239)])
def test_forget_quality_of_sets_that_do_not_overlap(n, p):
  found = metrics.forget_quality(np.linspace(0, 1, n), np.linspace(2, 3, n))
  np.testing.assert_allclose(found.p_value, p, rtol=1e-3)
  np.testing.assert_allclose(found.log10_p, np.log10(p), rtol=1e-5)
  assert found.distance == 1.0 and metrics.forget_quality(np.arange(n), np.arange(n)).p_value == 1.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_truth_ratio_properties(seed):
  rng = np.random.default_rng(seed)
  right, wrong = rng.exponential(2, 5), rng.exponential(2, (5, 3))
  geometric, arithmetic = (metrics.truth_ratio(right, wrong, definition=d) for d in ("geometric", "arithmetic"))
  assert (np.asarray(geometric) <= np.asarray(arithmetic) * (1 + 1e-5)).all()
  knowledge = metrics.truth_score(geometric, definition="knowledge")
  np.testing.assert_allclose(knowledge, 1 / (1 + np.exp(right - wrong.mean(1))), rtol=1e-4)
  for definition in ("closer_to_1", "true_better", "knowledge"):
    score = np.asarray(metrics.truth_score(geometric, definition=definition))
    assert (score >= 0).all() and (score <= 1 + 1e-6).all()
  quality = metrics.forget_quality(right[:4], wrong[:, 0])
  shifted = metrics.forget_quality(
    np.log(right[:4]), np.log(wrong[:, 0])
  )  # any monotone map: inverting R changes nothing
  assert quality.p_value == pytest.approx(shifted.p_value)


def test_a_uniform_model_is_at_the_corners():
  mean_nll = jnp.full(3, jnp.log(7.0))
  np.testing.assert_allclose(metrics.answer_probability(mean_nll), 1 / 7, rtol=1e-6)
  ratio = metrics.truth_ratio(mean_nll, jnp.full((3, 5), jnp.log(7.0)))
  np.testing.assert_allclose(metrics.truth_score(ratio, definition="closer_to_1"), 1, rtol=1e-5)
  np.testing.assert_allclose(metrics.truth_score(ratio, definition="true_better"), 0, atol=1e-6)
  unlikely = metrics.answer_probability(jnp.array([500.0]), jnp.array([[501.0, 502.0]]))
  np.testing.assert_allclose(unlikely, 1 / (1 + np.exp(-1) + np.exp(-2)), rtol=1e-5)


def test_model_utility_is_zero_with_any_zero_and_names_what_is_missing():
  half = dict.fromkeys(("probability", "rouge", "truth_ratio"), 0.5)
  full = dict.fromkeys(("retain", "real_authors", "world_facts"), half)
  assert metrics.model_utility(full) == 0.5
  assert metrics.model_utility({**full, "retain": {**full["retain"], "rouge": 0.0}}) == 0.0
  with pytest.raises(ValueError, match="scores lack world_facts/probability"):
    metrics.model_utility({k: v for k, v in full.items() if k != "world_facts"})
  with pytest.raises(ValueError, match="scores must be a fraction"):
    metrics.model_utility({**full, "retain": {**full["retain"], "rouge": 50.0}})
  with pytest.raises(ValueError, match=r"wrong_mean_nll must be \[N, J\] = \[2, J >= 1\]"):
    metrics.truth_ratio(jnp.zeros(2), jnp.zeros((3, 2)))


def strength_by_loop(correct, mask):
  right = [c for c, m in zip(correct, mask) if m]
  run = 0
  for c in reversed(right):
    if not c:
      break
    run += 1
  return run / len(right) if right else 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_extraction_strength_equals_a_loop(seed):
  rng = np.random.default_rng(seed)
  correct, mask = rng.random((6, 8)) < 0.7, rng.random((6, 8)) < 0.7
  mask[0] = False
  want = [strength_by_loop(c, m) for c, m in zip(correct, mask)]
  np.testing.assert_allclose(metrics.extraction_strength(correct, mask), want, rtol=1e-6)
  everything, nothing = np.ones_like(correct), np.zeros_like(correct)
  assert metrics.extraction_strength(everything, mask)[1:].tolist() == [1.0] * 5
  assert metrics.extraction_strength(nothing, mask).tolist() == [0.0] * 6
  assert (metrics.extraction_strength(correct, mask) <= metrics.exact_memorization(correct, mask) + 1e-6).all()


def test_full_extraction_strength_means_that_greedy_decoding_gives_the_answer():
  model, length = bigram_model(2), 7
  start = jnp.asarray(sentences(5, length).column("tokens"))
  said = jnp.concatenate([start[:, :2], models.generate(model, start[:, :2], length - 2).tokens], 1)
  table = Examples({"tokens": np.asarray(said), "mask": np.arange(length)[None] >= np.full((5, 1), 2)})
  scores = metrics.answer_scores(model, table)
  assert metrics.extraction_strength(scores.correct, scores.mask).tolist() == [1.0] * 5
  assert metrics.exact_memorization(scores.correct, scores.mask).tolist() == [1.0] * 5


def test_extraction_likelihood_of_a_model_that_repeats_a_text():
  text = np.array([3, 1, 4, 2, 0])
  after = jnp.array([0, 4, 0, 1, 2])  # what follows a token
  repeat = Model({}, fn=lambda params, inputs, **_: Outputs(jax.nn.one_hot(after[inputs["tokens"]], 5)))
  said = {t: np.asarray(models.generate(repeat, text[None, :t], 5 - t).tokens[0]) for t in range(1, 5)}
  assert metrics.extraction_likelihood(said, text, n=2) == 1.0
  assert metrics.extraction_likelihood(lambda t: np.zeros(5 - t, int), text, n=2) == 0.0
  loops = lambda t: np.array([4, 2] * 10)
  assert metrics.extraction_likelihood(loops, text, n=2) > 1
  with pytest.raises(ValueError, match=r"n must be in \[1, T\)"):
    metrics.extraction_likelihood(loops, text, n=5)


def test_fluency_corners():
  assert metrics.ngram_entropy("a a a a".split()) == 0.0
  np.testing.assert_allclose(metrics.ngram_entropy(range(8)), (2 / 3 * np.log2(7) + 4 / 3 * np.log2(6)) / 2)
  with pytest.raises(ValueError, match="at least three"):
    metrics.ngram_entropy("a b".split())


def test_answer_scores_are_those_of_the_arrays_whatever_the_batch():
  table = sentences(9)
  scores = metrics.answer_scores(bigram_model(), table)
  logits = bigram(bigram_params(), {"tokens": table.column("tokens")}).logits
  parts = losses.next_tokens(logits, table.column("tokens"), table.column("mask"))
  np.testing.assert_allclose(scores.logp, -losses.token_nll(*parts), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(scores.correct, (jnp.argmax(parts.logits, -1) == parts.targets) & parts.mask)
  np.testing.assert_allclose(scores.mean_nll, losses.reduce_seq_mean(losses.token_nll(*parts), parts.mask), rtol=1e-5)
  p = np.asarray(jax.nn.softmax(parts.logits), np.float64)
  mu, square = (p * np.log(p)).sum(-1), (p * np.log(p) ** 2).sum(-1)
  want = (np.asarray(scores.logp) - mu) / np.sqrt(square - mu**2)
  np.testing.assert_allclose(scores.normalized[scores.mask], want[scores.mask], rtol=1e-3)
  alternative = metrics.answer_scores(bigram_model(), table, answers="alt")
  np.testing.assert_array_equal(alternative.mask, table.column("alt_mask")[:, 1:])


def test_priv_leak_signs():
  assert metrics.priv_leak(0.5) == 0 and metrics.priv_leak(1.0) == pytest.approx(-100)
  assert metrics.priv_leak(0.0, 0.6) == pytest.approx(150)
  with pytest.raises(ValueError, match="auc must be a fraction"):
    metrics.priv_leak(48.0)


def test_squad_f1_ignores_articles_case_and_punctuation():
  assert metrics.squad_f1(["an Eiffel, Tower"], ["The eiffel tower"]).tolist() == [1.0]
  assert metrics.squad_f1(["", "x"], ["the", ""]).tolist() == [1.0, 0.0]
  assert metrics.squad_f1(["b b c"], ["b d"]).tolist() == [pytest.approx(2 / 5)]
  with pytest.raises(ValueError, match="lists of one length"):
    metrics.squad_f1("abc", ["abc"])
