"""A second model that is asked along: what it may change, and that generation with caches agrees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_language import toy_lm
from toy_lm import bigram, bigram_model, bigram_params

from unlearnjax import guards, models
from unlearnjax.core import Model

KEY = jax.random.key(0)
TOKENS = {"tokens": jnp.array([[1, 2, 3], [4, 5, 0]])}


def assistant(params):
  return {"assistant": {"params": params, "state": ()}}


@pytest.mark.parametrize("keep", [1.0, 0.3, 0.01])
def test_an_assistant_that_knows_nothing_changes_nothing(keep):
  logits = 3 * jax.random.normal(KEY, (2, 4, 9))
  for weight in (0.0, 0.8, 5.0):
    flat = jnp.full_like(logits, 7.0)
    np.testing.assert_allclose(guards.subtracted(weight, keep=keep)(logits, flat), logits, atol=1e-5)
  np.testing.assert_array_equal(guards.subtracted(0.0, keep=keep)(logits, 2 * logits), logits)


def test_only_likely_tokens_are_corrected_and_at_least_one_is():
  logits = jnp.log(jnp.array([0.6, 0.3, 0.06, 0.03, 0.01]))
  said = jnp.array([4.0, 0.0, 3.0, -1.0, 2.0])
  moved = lambda keep: (guards.subtracted(1.0, keep=keep)(logits, said) != logits).tolist()
  assert moved(1.0) == [True] * 5
  assert moved(0.09) == [True, True, True, False, False]  # those of a probability from 0.09 * 0.6 on
  assert moved(0.7) == [True] * 3 + [False] * 2  # int(0.7 * 5) tokens, however unlikely
  assert moved(0.99).count(True) == 4  # int(4.95)
  sharp = jnp.array([20.0, 0.0, 0.0, 0.0, 0.0])
  assert (guards.subtracted(1.0, keep=0.01)(sharp, said) != sharp).tolist() == [True, False, False, False, False]


def test_without_a_threshold_it_is_the_difference_of_the_logits():
  logits, other = jax.random.normal(KEY, (2, 1, 3, 7))
  found = jax.nn.softmax(guards.subtracted(0.5, keep=1.0)(logits, other))
  np.testing.assert_allclose(found, jax.nn.softmax(logits - 0.5 * other), rtol=1e-5)


def test_gradients_reach_the_guarded_weights_alone_and_refs_are_needed():
  model, other = bigram_model(), bigram_params(1)
  fn = guards.assisted(bigram, guards.subtracted(1.0, keep=1.0)).bind(bigram)
  loss = lambda p, a: fn(p, TOKENS, refs=assistant(a)).logits[0, 0, 0]
  own, others = jax.grad(loss, argnums=(0, 1))(model.params, other)
  assert any(jnp.any(x != 0) for x in jax.tree.leaves(own))
  assert not any(jnp.any(x != 0) for x in jax.tree.leaves(others))
  with pytest.raises(ValueError, match="refs has no 'assistant', the assistant that this guard asks; found \\[\\]"):
    fn(model.params, TOKENS)


def test_attaching_keeps_the_weights_and_refuses_a_name_twice():
  model = toy_lm("llama", vocab_size=11, dim=8, depth=1, heads=2)
  guard = guards.assisted(model.fn, guards.subtracted(0.8))
  guarded = guards.attach(guard, model, KEY)
  assert guarded.params is model.params and set(guarded.refs) == {"assistant"}
  with pytest.raises(ValueError, match=r"already holds the refs \['assistant'\]: give the guard another ref="):
    guards.attach(guard, guarded, KEY)


def test_greedy_answers_are_the_same_with_caches_and_without():
  model = toy_lm("llama", vocab_size=11, dim=8, depth=2, heads=2)
  short = models.first_layers(model.fn, 1)
  fn = guards.assisted(short, guards.subtracted(1.5, keep=1.0)).bind(model.fn)
  helper = models.first_layers_of(jax.tree.map(lambda x: 1.3 * x, model.params), 1)
  guarded = Model(model.params, model.state, assistant(helper), fn)
  whole = Model(model.params, model.state, assistant(helper), lambda *args, **rest: fn(*args, **rest))
  prompts = jnp.array([[0, 3, 4], [5, 6, 7]])
  segments = jnp.array([[0, 1, 1], [1, 1, 1]])
  a, b = (models.generate(m, prompts, 4, segment_ids=segments).tokens for m in (guarded, whole))
  np.testing.assert_array_equal(a, b)
  assert not np.array_equal(a, models.generate(model, prompts, 4, segment_ids=segments).tokens)


def test_first_layers_are_the_stream_of_the_whole_model_after_them():
  model = toy_lm("llama", vocab_size=11, dim=8, depth=3, heads=2)
  short = Model(models.first_layers_of(model.params, 2), fn=models.first_layers(model.fn, 2))
  streams = [m(TOKENS, capture=("blocks/1",)).hidden["blocks/1"] for m in (model, short)]
  np.testing.assert_allclose(*streams, rtol=1e-5, atol=1e-6)
  with pytest.raises(ValueError, match="depth must be from 1 to the 3 layers of the model, got 4"):
    models.first_layers(model.fn, 4)
  with pytest.raises(ValueError, match="only a Transformer can be cut after some layers, got function"):
    models.first_layers(bigram, 1)
