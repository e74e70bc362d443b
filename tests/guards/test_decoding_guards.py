"""Guards at the last layer: MemFree decoding lets no n-gram through, mixtures are mixtures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_lm import VOCABULARY, bigram_model, sentences

from unlearnjax import guards, models

KEY = jax.random.key(0)
MODEL = bigram_model()
TEXTS = sentences(30, length=7, alternatives=False)


def grams(rows, masks, n):
  return {tuple(row[t - n + 1 : t + 1]) for row, m in zip(rows, masks) for t in range(n - 1, len(row)) if m[t]}


@pytest.mark.parametrize("n", [1, 3])
def test_exactly_the_tokens_that_complete_an_ngram_are_banned(n):
  texts = TEXTS[:2] if n == 1 else TEXTS
  guarded = guards.attach(guards.without_ngrams(texts, n), MODEL, KEY)
  tokens = np.random.default_rng(1).integers(0, VOCABULARY, (20, 5))
  plain, logits = (np.asarray(m({"tokens": jnp.asarray(tokens)}).logits) for m in (MODEL, guarded))
  known = grams(texts.column("tokens").tolist(), texts.column("mask"), n)
  for b, t in np.ndindex(20, 5):
    for v in range(VOCABULARY):
      completes = t >= n - 2 and (*tokens[b, t - n + 2 : t + 1], v) in known
      assert logits[b, t, v] == (-np.inf if completes else plain[b, t, v])
  assert np.isinf(logits).any() and np.isfinite(logits).any()


def test_what_is_generated_holds_no_ngram_of_the_texts():
  prompts = jnp.asarray(TEXTS.column("tokens")[:, :2])
  known = grams(TEXTS.column("tokens").tolist(), TEXTS.column("mask"), 3)
  copied = {}
  for name, model in (("plain", MODEL), ("guarded", guards.attach(guards.without_ngrams(TEXTS, 3), MODEL, KEY))):
    said = np.concatenate([prompts, models.generate(model, prompts, 6).tokens], 1)
    copied[name] = len(grams(said.tolist(), np.arange(8)[None].repeat(len(said), 0) >= 2, 3) & known)
  assert copied["plain"] > 0 == copied["guarded"]


def test_texts_without_ngrams_and_refs_without_a_table():
  with pytest.raises(ValueError, match="source holds no 9-gram that ends in a scored token; its rows have 7"):
    guards.without_ngrams(TEXTS, 9)
  guarded = guards.attach(guards.without_ngrams(TEXTS, 3), MODEL, KEY)
  with pytest.raises(ValueError, match="refs has no 'ngrams', the n-grams of this guard; found"):
    guarded.replace(refs={})({"tokens": jnp.zeros((1, 3), int)})


def test_the_mixture_is_of_probabilities_and_keeps_the_first_choice():
  inputs = {"tokens": jnp.arange(VOCABULARY)[None]}
  p = jax.nn.softmax(MODEL(inputs).logits)
  for weight in (0.0, 0.3, 1.0):
    mixed = guards.attach(guards.mixed_with_chance(weight), MODEL, KEY)(inputs).logits
    np.testing.assert_allclose(jax.nn.softmax(mixed), weight * p + (1 - weight) / VOCABULARY, rtol=1e-5)
  half = guards.attach(guards.mixed_with_chance(0.5), MODEL, KEY)(inputs).logits
  np.testing.assert_array_equal(half.argmax(-1), p.argmax(-1))
  with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got 2"):
    guards.mixed_with_chance(2)
