"""Extraction likelihood on the device against its definition; the choice of settings without retraining."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_lm import bigram_model, sentences

from unlearnjax import metrics, models
from unlearnjax.core import ForgetRequest, Method, Verbs

N = 2


def by_definition(model, tokens, first, end):
  """EL_n of one text with a prompt of `first` tokens, continuation by continuation."""

  def said(t):
    return np.asarray(models.generate(model, jnp.asarray(tokens[None, :t]), end - t).tokens[0])

  shares = [metrics.ngram_overlap(said(t), tokens[t:end], N) for t in range(first, end) if end - t >= N]
  return np.mean(shares) if shares else np.nan


def test_device_and_definition_agree_on_answers_and_whole_texts():
  model, data = bigram_model(3), sentences(6, length=6, seed=1, alternatives=False)
  tokens, mask = data.column("tokens"), data.column("mask")
  found = metrics.extraction_likelihoods(model, data, n=N, prefixes=2)
  want = [by_definition(model, row, m.argmax(), len(m) - m[::-1].argmax()) for row, m in zip(tokens, mask)]
  np.testing.assert_allclose(found, want, atol=1e-6)
  whole = data.replace(mask=np.ones_like(mask))
  plain = metrics.extraction_likelihood(
    lambda t: np.asarray(models.generate(model, jnp.asarray(tokens[:1, :t]), 6 - t).tokens[0]), tokens[0], n=N
  )
  np.testing.assert_allclose(metrics.extraction_likelihoods(model, whole[:1], n=N)[0], plain, atol=1e-6)
  assert 0 < plain or 0 < np.nanmax(found)


@pytest.mark.slow
def test_a_cache_of_keys_and_values_changes_nothing():
  from toy_language import toy_lm

  model = toy_lm("llama", vocab_size=6, dim=8, depth=1, heads=2, context=32)
  data = sentences(3, length=6, seed=1, alternatives=False)
  tokens, mask = data.column("tokens"), data.column("mask")
  want = [by_definition(model, row, m.argmax(), len(m) - m[::-1].argmax()) for row, m in zip(tokens, mask)]
  np.testing.assert_allclose(metrics.extraction_likelihoods(model, data, n=N), want, atol=1e-6)


def test_texts_that_are_too_short_have_no_likelihood():
  data = sentences(2, length=6, alternatives=False)
  few = data.replace(mask=np.arange(6)[None] == np.array([[3], [9]]))
  assert np.isnan(metrics.extraction_likelihoods(bigram_model(), few, n=N)).all()
  with pytest.raises(ValueError, match="n must be less than the 6 tokens of a row, got 6"):
    metrics.extraction_likelihoods(bigram_model(), data, n=6)


def test_the_fit_of_a_text_counts_tokens():
  data = sentences(5, alternatives=False)
  said = metrics.answer_scores(bigram_model(), data)
  fit = metrics.text_fit(said)
  np.testing.assert_allclose(fit.perplexity, np.exp(-said.logp.sum() / said.mask.sum()), rtol=1e-5)
  assert fit.accuracy == said.correct.sum() / said.mask.sum()
  with pytest.raises(ValueError, match="at least one scored token"):
    metrics.text_fit(said._replace(mask=np.zeros_like(said.mask)))


def settings(scale):
  """A method that scales all logits: its perplexities are known."""

  def bind(fn):
    init = lambda model, key: (model.params, {})
    serve = lambda params, refs: bigram_model().replace(params=params)
    forget = lambda params, refs, request, run: ({**params, "head": params["head"] * scale}, refs)
    return Verbs(init, serve, forget=forget)

  return Method(f"times{scale}", bind)


def test_the_settings_nearest_to_unseen_text_win_if_they_keep_the_rest():
  table = sentences(30, alternatives=False)
  model = bigram_model()
  request = ForgetRequest(table[:10], table[10:20], extra={"unseen": table[20:]})
  fit = lambda m, source: metrics.text_fit(metrics.answer_scores(m, source)).perplexity
  candidates = {"same": settings(1.0), "flat": settings(0.0), "wild": settings(-30.0)}
  best, found = metrics.approximate_retraining(candidates, model, request, key=jax.random.key(0), tolerance=0.5)
  np.testing.assert_allclose(
    found["same"].gap.perplexity, np.log(fit(model, table[:10]) / fit(model, table[20:])), rtol=1e-4
  )
  assert found["same"].retain == 0 and found["same"].kept
  np.testing.assert_allclose(found["flat"].retain, np.log(6 / fit(model, table[10:20])), rtol=1e-4)
  assert not found["wild"].kept and best in ("same", "flat")
  kept = {name: abs(each.gap.perplexity) for name, each in found.items() if each.kept}
  assert best == min(kept, key=kept.get)
  worst, _ = metrics.approximate_retraining({"wild": settings(-30.0)}, model, request, key=jax.random.key(0))
  assert worst == "wild"
  with pytest.raises(ValueError, match="candidates must hold"):
    metrics.approximate_retraining({}, model, request, key=jax.random.key(0))


def test_greedy_ranks_are_those_of_steps_that_follow_the_models_own_words():
  model, data = bigram_model(3), sentences(6, length=6, seed=1, alternatives=False)
  tokens, mask = data.column("tokens"), data.column("mask")
  found = metrics.greedy_ranks(model, data)
  want = np.zeros_like(found)
  for row, (text, scored) in enumerate(zip(tokens, mask)):
    said = list(text[: scored.argmax()])
    for t in range(scored.argmax(), len(text)):
      logits = np.asarray(model({"tokens": jnp.asarray([said])}).logits[0, -1])
      want[row, t - 1] = 1 + (logits > logits[text[t]]).sum() if scored[t] else 0
      said.append(int(logits.argmax()))
  np.testing.assert_array_equal(found, want)
  assert set(found[found > 0]) > {1} and (found > 0).sum() == mask.sum()
  reciprocal = np.mean([1 / r for r in want.ravel() if r])
  np.testing.assert_allclose(metrics.mean_reciprocal_rank(found, found > 0), reciprocal, rtol=1e-6)
  assert metrics.top_hit_ratio(found, 100, found > 0) == 1  # the vocabulary is smaller
  assert metrics.top_hit_ratio(found, 1, found > 0) == np.mean(want[want > 0] == 1)


def test_the_ledger_counts_generations():
  from unlearnjax.core import Run

  data, run = sentences(4, length=6, alternatives=False), Run()
  metrics.extraction_likelihoods(bigram_model(), data, run, n=N, prefixes=2)
  assert run.cost.forward_evaluations == 4 * 6
  metrics.greedy_ranks(bigram_model(), data, run)
  assert run.cost.forward_evaluations == 4 * 6 + 4 * 2
