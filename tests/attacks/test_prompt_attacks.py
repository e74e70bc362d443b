"""Prompts that are searched, contexts that are given."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_lm import bigram_model, sentences

from unlearnjax import attacks, metrics
from unlearnjax.core import Examples, Model, Outputs

VOCABULARY, WIDTH = 12, 6
KEY = jax.random.key(0)


def bag(params, inputs, *, inject=None, **_):
  """Predicts from the sum of all embeddings so far: linear in the input, so that the gradient is exact."""
  h = params["embed"]["table"][inputs["tokens"]]
  h = (inject or {}).get("embed", lambda x: x)(h)
  return Outputs(jnp.cumsum(h, axis=1) @ params["head"])


def model(seed=0):
  a, b = jax.random.split(jax.random.key(seed))
  table = jax.random.normal(a, (VOCABULARY, WIDTH))
  return Model({"embed": {"table": table}, "head": jax.random.normal(b, (WIDTH, VOCABULARY))}, fn=bag)


def parrot(params, inputs, **_):
  """Says 1 2 3 4 over and over, whatever came before."""
  after = jnp.array([1, 2, 3, 4, 1, 1, 1, 1, 1, 1, 1, 1])
  return Outputs(20 * jax.nn.one_hot(after[inputs["tokens"]], VOCABULARY) + 0 * params["embed"]["table"].sum())


def test_the_search_finds_the_token_that_brings_the_target_out():
  best = {t: attacks.gcg(model(), [t], 1, key=KEY, steps=30, width=16, topk=12) for t in (1, 4, 7)}
  for target, found in best.items():
    said = jnp.argmax(model()({"tokens": jnp.asarray(found.tokens)[None]}).logits[0, -1])
    assert found.success == (int(said) == target)
    alone = model()({"tokens": jnp.arange(VOCABULARY)[:, None]}).logits[:, -1]
    brute = -jax.nn.log_softmax(alone)[:, target]
    if not found.success:  # it went on to the end and kept the best of all tokens
      np.testing.assert_allclose(found.loss, brute.min(), rtol=1e-5)


def test_same_key_same_prompt_and_only_allowed_tokens():
  allowed = np.arange(VOCABULARY) % 2 == 0
  found = [attacks.gcg(model(), [3, 5], 4, key=KEY, steps=8, width=8, allowed=allowed) for _ in range(2)]
  assert (found[0].tokens == found[1].tokens).all() and (found[0].tokens % 2 == 0).all()
  free = attacks.gcg(model(), [3, 5], 4, key=KEY, steps=8, width=8, guided=False)
  assert free.tokens.shape == (4,) and np.isfinite(free.loss)


@pytest.mark.slow
def test_more_steps_never_lose_the_best_and_gradients_beat_chance():
  losses = [attacks.gcg(model(1), [2, 9, 4], 5, key=KEY, steps=n, width=6, topk=3).loss for n in (1, 4, 16)]
  assert losses == sorted(losses, reverse=True)
  keys = jax.random.split(KEY, 4)
  mean = lambda guided: np.mean(
    [attacks.gcg(model(1), [2, 9, 4], 5, key=k, steps=4, width=6, topk=3, guided=guided).loss for k in keys]
  )
  assert mean(True) < mean(False)


def test_one_prompt_for_several_questions():
  found = attacks.gcg(model(), [[1], [4]], 3, key=KEY, prefix=[7], suffix=[[5], [6]], steps=10, width=8, chunk=4)
  rows = jnp.array([[7, *found.tokens, 5], [7, *found.tokens, 6]])
  logits = model()({"tokens": rows}).logits[:, -1]
  want = -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(2), jnp.array([1, 4])])
  np.testing.assert_allclose(found.loss, want, rtol=1e-5)


def test_compression_of_what_is_always_said_and_of_what_never_is():
  known = Model(model().params, fn=parrot)
  always = attacks.compression_ratio(known, [1, 2, 3, 4], key=KEY, first=2, steps=5, width=8)
  assert always.ratio == 4.0 and len(always.prompt.tokens) == 1 and always.prompt.success
  never = attacks.compression_ratio(known, [4, 4, 4, 4], key=KEY, first=2, most=4, steps=2, width=8)
  assert never == attacks.Compression(0.0, None)
  with pytest.raises(ValueError, match=r"first must be in \[1, most\), got first=5 and most=5"):
    attacks.compression_ratio(known, [1], key=KEY, most=5)


def test_errors_of_the_search():
  with pytest.raises(ValueError, match="length must be > 0"):
    attacks.gcg(model(), [1], 0, key=KEY)
  with pytest.raises(ValueError, match=r"target must be int\[m\] or int\[B, m\] and suffix fit it"):
    attacks.gcg(model(), [[1], [2], [3]], 2, key=KEY, suffix=[[1], [2]])
  with pytest.raises(ValueError, match="with at least two tokens"):
    attacks.gcg(model(), [1], 2, key=KEY, allowed=np.arange(VOCABULARY) == 0)


def copycat(params, inputs, **_):
  """Answers a question (tokens from 6 on) with what followed it earlier in the context, if it is there at all."""
  tokens = inputs["tokens"]
  earlier = jnp.tril(tokens[:, :, None] == tokens[:, None, :], -1)
  after = jax.nn.one_hot(jnp.roll(tokens, -1, axis=1), VOCABULARY)
  return Outputs(10 * earlier.astype(jnp.float32) @ after + 0 * params)


def test_a_fact_in_the_context_brings_back_what_the_weights_never_held():
  source = Examples({"tokens": np.array([[6, 1], [7, 2], [8, 3]], np.int32), "mask": np.array([[False, True]] * 3)})
  fresh = Model(jnp.zeros(()), fn=copycat)
  right = lambda s: float((lambda x: x.correct[x.mask].mean())(metrics.answer_scores(fresh, s)))
  plain = right(source)
  facts = right(attacks.with_context(source, source.column("tokens")))
  noise = right(attacks.with_context(source, [10, 11]))
  assert attacks.recovered_share(plain, facts, 1.0) == 1.0
  assert attacks.recovered_share(plain, noise, 1.0) == 0.0
  with pytest.raises(ValueError, match=r"context must be int\[n\] or int\[3, n\], got shape \(2, 2\)"):
    attacks.with_context(source, [[1, 2], [3, 4]])


def test_a_context_changes_no_score_of_a_model_that_looks_one_token_back():
  table = sentences(4, alternatives=False)
  plain, more = (metrics.answer_scores(bigram_model(), s) for s in (table, attacks.with_context(table, [3, 3, 3])))
  np.testing.assert_allclose(more.mean_nll, plain.mean_nll, rtol=1e-6)
  assert (more.mask.sum(1) == plain.mask.sum(1)).all()


def test_texts_are_perturbed_at_fixed_places():
  assert attacks.perturb_text("abcdef", 2, "_") == "ab_cd_ef_"
  assert attacks.perturb_text("a\nb", 1) == "a!\n!b!"
  with pytest.raises(ValueError, match="every must be > 0"):
    attacks.perturb_text("abc", 0)
