"""Corrupted prompts and the gate before them, and filters of texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_asked import QUESTIONS, WORDS, told

from unlearnjax import guards, methods
from unlearnjax.core import Model, Outputs, forget
from unlearnjax.metrics import answer_scores

KEY = jax.random.key(0)
WEIGHTS = {"weight": jnp.array([0.0, 0, 0, 0, 0, 9.0, 0, 0, 0, 0]), "bias": jnp.array(-4.5)}


def stream(params, inputs, *, state=(), inject={}, **_):  # noqa: B006
  """Embeddings that are shown as logits."""
  h = params[inputs["tokens"]]
  return Outputs(inject["embed"](h) if "embed" in inject else h, {}, state)


def guarded(strength=1.0, kind="noise"):
  prompt = guards.prompt_until(9)
  guard = guards.corrupted(guards.BagOfWords(10, prompt), threshold=0.9, kind=kind, prompt=prompt)
  refs = {"guard": {"gate": WEIGHTS, "strength": jnp.asarray(strength), "seed": jnp.array(3)}}
  return Model(jax.random.normal(KEY, (10, 6)), (), refs, guard.bind(stream))


def changed(model, tokens, **rest):
  tokens = jnp.asarray(tokens)
  plain = stream(model.params, {"tokens": tokens})
  return np.asarray((model({"tokens": tokens, **rest}).logits != plain.logits).any(-1)).astype(int).tolist()


def test_only_flagged_prompts_are_corrupted_and_only_up_to_their_end():
  rows = [[1, 5, 9, 5, 2], [1, 2, 9, 5, 2], [5, 3, 9, 9, 1]]
  assert changed(guarded(), rows) == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
  assert changed(guarded(strength=0.0), rows) == [[0] * 5] * 3
  padding = jnp.array([[0, 0, 1, 1, 1]])
  assert changed(guarded(), [[5, 5, 1, 2, 9]], segment_ids=padding) == [[0] * 5]  # padding flags nothing
  assert changed(guarded(), [[0, 0, 1, 5, 9]], segment_ids=padding) == [[0, 0, 1, 1, 1]]


def test_padding_before_the_prompt_moves_no_noise():
  model = guarded()
  tokens = jnp.array([[1, 5, 9, 2]])
  longer, padding = jnp.array([[1, 1, 5, 9, 2]]), jnp.array([[0, 1, 1, 1, 1]])
  draw = lambda width: jax.random.normal(jax.random.key(3), (width, 6))
  found = model({"tokens": longer, "segment_ids": padding}).logits[0, 1:4] - model.params[tokens[0, :3]]
  np.testing.assert_allclose(found, draw(5)[:3], rtol=1e-4, atol=1e-5)


def test_a_cached_step_is_left_alone_and_other_injections_come_after():
  model, one = guarded(), {"tokens": jnp.array([[5]])}
  plain = stream(model.params, one).logits
  assert (model.fn(model.params, one, refs=model.refs, state={"keys": jnp.zeros(1)}).logits == plain).all()
  assert (model(one).logits != plain).any()
  np.testing.assert_array_equal(model(one, inject={"embed": lambda h: 0 * h}).logits, 0 * plain)
  with pytest.raises(ValueError, match="refs has no 'guard', the gate and the strength of this guard; found"):
    model.fn(model.params, one)


def test_the_largest_entries_of_flagged_tokens_become_zero():
  tokens = {"tokens": jnp.array([[5, 9, 5]])}
  model = guarded(strength=2.0, kind="zero_top")
  found, before = model(tokens).logits[0], model.params[jnp.array([5, 9, 5])]
  assert (found == 0).sum(-1).tolist() == [2, 2, 0]
  kept = np.sort(np.abs(before), -1)[:, :4]
  np.testing.assert_array_equal(np.sort(np.abs(found), -1)[:2, 2:], kept[:2])


def test_eco_finds_the_strength_and_leaves_other_prompts_bit_by_bit():
  model, request = told()
  gate = guards.BagOfWords(WORDS + QUESTIONS)
  method = methods.eco(gate, target=2.5, threshold=0.9, epochs=25, batch_size=12)
  result = forget(method, model, request, key=KEY)
  jax.tree.map(np.testing.assert_array_equal, result.model.params, model.params)
  same = lambda m: answer_scores(m, request.retain).logp
  np.testing.assert_array_equal(same(result.model), same(model))
  said = answer_scores(result.model, request.forget)
  assert abs(-said.logp.sum() / said.mask.sum() - 2.5) < 0.25  # a tenth
  with pytest.raises(ValueError, match=r"eco needs target=, or request.extra\['validation'\]"):
    forget(methods.eco(gate, epochs=1), model, request, key=KEY)


def test_filters_of_texts():
  asked = []

  def answer(question):
    asked.append(question)
    return f"{question} It was Ann Lee."

  known = guards.mentions(["Bo Ek", "Ann Lee"])
  on = lambda reads: guards.filtered(answer, known, reads=reads, refusal="No.")
  assert on("question")("Who is BO  EK?") == "No." and asked == []
  assert on("question")("Who?") == "Who? It was Ann Lee."
  assert on("answer")("Who?") == on("both")("Who?") == "No."
  twice = guards.filtered(on("both"), known, refusal="No.")
  assert [twice(q) for q in ("Who?", "bo ek")] == [on("both")(q) for q in ("Who?", "bo ek")]
  free = guards.filtered(str.upper, known)
  assert free("Bo Ekman?") == "BO EKMAN?" and guards.prefixed(free, "Say")("it") == "SAY IT"
  with pytest.raises(ValueError, match=r"names must be at least one, none of them empty; got \['a', ' '\]"):
    guards.mentions(["a", " "])
  with pytest.raises(ValueError, match="reads must be one of question, answer, both"):
    guards.filtered(answer, known, reads="all")
