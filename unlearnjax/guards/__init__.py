"""Guards: they change what a model says and leave its weights alone.

A `Guard` has two functions: `init(model, key) -> refs`, the arrays that it reads, and `bind(fn) -> fn`, the guarded
model function, which is a `ModelFn` like any other: metrics, attacks and generation read it. What a guard hides is
still in the weights; attacks with access to them find it, so results must say that a guard was measured.

Example:
  >>> import jax
  >>> from unlearnjax import guards, models
  >>> model = models.transformer("llama", vocab_size=16, dim=8, depth=1, heads=2).init(jax.random.key(0))
  >>> guarded = guards.attach(guards.assisted(model.fn, guards.subtracted(0.8)), model, jax.random.key(1))
  >>> guarded({"tokens": jax.numpy.ones((1, 3), int)}).logits.shape
  (1, 3, 16)
"""

from unlearnjax.guards.assisted import Assisted, assisted, attach, subtracted
from unlearnjax.guards.corrupt import Corrupted, corrupted
from unlearnjax.guards.decoding import mixed_with_chance, without_ngrams
from unlearnjax.guards.gate import BagOfWords, prompt_until, whole_prompt
from unlearnjax.guards.text import filtered, mentions, prefixed

__all__ = [
  "Assisted",
  "BagOfWords",
  "Corrupted",
  "assisted",
  "attach",
  "corrupted",
  "filtered",
  "mentions",
  "mixed_with_chance",
  "prefixed",
  "prompt_until",
  "subtracted",
  "whole_prompt",
  "without_ngrams",
]
