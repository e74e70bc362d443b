"""Generation: cache and whole sequences agree, padding on either side, stop tokens, sampling."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_language import toy_lm

from unlearnjax.core import Model
from unlearnjax.models import generate, pad_tokens
from unlearnjax.models.generation import sample

PROMPTS = [[5, 6, 7, 8], [9, 10]]
LEFT, RIGHT = (pad_tokens(PROMPTS, side=side) for side in ("left", "right"))


@pytest.fixture(scope="module")
def model():
  return toy_lm("llama", vocab_size=32, dim=16, depth=2, heads=2, hidden=16, context=16)


@dataclasses.dataclass(frozen=True)
class Wrapped:
  """A model function around another, which has no cache of its own."""

  inner: object

  def __call__(self, params, inputs, **kwargs):
    return self.inner(params, inputs, **kwargs)


@pytest.fixture(scope="module")
def greedy(model):
  return generate(model, **LEFT, new_tokens=6)


def test_greedy_takes_the_likeliest_token_of_the_whole_sequence(model, greedy):
  row = [*PROMPTS[1], *np.asarray(greedy.tokens[1])]
  logits = model({"tokens": jnp.array([row])}).logits[0]
  np.testing.assert_array_equal(logits.argmax(-1)[1:-1], row[2:])
  assert greedy.lengths.tolist() == [6, 6]


def test_right_padding_and_no_cache_give_the_same(model, greedy):
  np.testing.assert_array_equal(generate(model, **RIGHT, new_tokens=6).tokens, greedy.tokens)
  wrapped = Model(model.params, fn=Wrapped(model.fn))
  for batch in (LEFT, RIGHT):
    np.testing.assert_array_equal(generate(wrapped, **batch, new_tokens=6).tokens, greedy.tokens)
  np.testing.assert_array_equal(generate(wrapped, **LEFT, new_tokens=6, cache=model.fn.cache).tokens, greedy.tokens)


def test_a_row_ends_at_its_stop_token(model, greedy):
  tokens = np.asarray(greedy.tokens)
  stop = int(tokens[0, 2])
  expected = [list(row).index(stop) if stop in row else 6 for row in tokens]
  out = generate(model, **LEFT, new_tokens=6, stop=[stop, 31])
  for row, before, length in zip(np.asarray(out.tokens), tokens, expected):
    np.testing.assert_array_equal(row[: length + 1], before[: length + 1])
    assert (row[length:] == stop).all()
  assert out.lengths.tolist() == expected


def test_samples_follow_the_distribution_and_its_nucleus():
  logits = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1]))
  keys = jax.random.split(jax.random.key(0), 4000)
  draw = lambda **how: np.bincount(sample(jnp.tile(logits, (4000, 1)), keys, **how), minlength=4) / 4000
  np.testing.assert_allclose(draw(), [0.5, 0.25, 0.15, 0.1], atol=0.03)
  np.testing.assert_allclose(draw(top_p=0.75), [2 / 3, 1 / 3, 0, 0], atol=0.03)
  np.testing.assert_allclose(draw(top_p=0.76), [0.5556, 0.2778, 0.1667, 0], atol=0.03)
  hot = np.sqrt([0.5, 0.25, 0.15, 0.1])
  np.testing.assert_allclose(draw(temperature=2.0), hot / hot.sum(), atol=0.03)


def test_sampling_is_reproducible_and_rows_are_independent(model):
  how = dict(new_tokens=6, temperature=1.0, top_p=0.9)
  one, two = (generate(model, **LEFT, **how, key=jax.random.key(i)).tokens for i in (0, 1))
  again = generate(model, **LEFT, **how, key=jax.random.key(0)).tokens
  np.testing.assert_array_equal(one, again)
  assert (one != two).any()
  alone = generate(model, **pad_tokens(PROMPTS[:1]), **how, key=jax.random.key(0)).tokens
  np.testing.assert_array_equal(alone[0], one[0])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(temperature=1.0), "sampling at temperature 1.0 needs a key"),
    (dict(top_p=0.0), r"top_p must be in \(0, 1\], got 0.0"),
    (dict(new_tokens=0), "new_tokens must be > 0, got 0"),
    (dict(new_tokens=13), "length must be from 1 to the context of 16 tokens, got 17"),
    (dict(segment_ids=np.zeros((2, 4))), "but one is all padding"),
    (dict(segment_ids=np.ones((2, 3))), r"segment_ids must have the shape of tokens \(2, 4\), got \(2, 3\)"),
    (dict(tokens=np.zeros((2, 0))), r"tokens must be int32\[B, T\] with at least one token a row"),
  ],
)
def test_what_cannot_be_generated(model, change, message):
  with pytest.raises(ValueError, match=message):
    generate(model, **{**LEFT, "new_tokens": 2, **change})
