"""Which prompts a guard answers to: what counts as the prompt, and a classifier of prompts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, Model, Outputs, Params

Prompt = Callable[[Mapping[str, Array]], Array]
"""`inputs -> bool[B, T]`: the tokens of the prompt. It must not look ahead: the answer is not there yet."""


def prompt_until(token: int) -> Prompt:
  """Tokens up to the first `token` of a row, that one included, e.g. a question mark; padding does not count.

  Args:
    token: its number. Rows without it are all prompt, as they are while the prompt is read for generation.

  Example:
    >>> prompt_until(9)({"tokens": jnp.array([[4, 9, 5, 9]])}).tolist()
    [[True, True, False, False]]
  """
  return functools.partial(_until, token)


def whole_prompt(inputs: Mapping[str, Array]) -> Array:
  """All tokens but padding, for prompts that are not told from answers.

  Example:
    >>> whole_prompt({"tokens": jnp.array([[4, 0]]), "segment_ids": jnp.array([[1, 0]])}).tolist()
    [[True, False]]
  """
  segments = inputs.get("segment_ids")
  return jnp.ones(inputs["tokens"].shape, bool) if segments is None else jnp.asarray(segments) != 0


def _until(token: int, inputs: Mapping[str, Array]) -> Array:
  real = whole_prompt(inputs)
  ends = (inputs["tokens"] == token) & real
  return real & (jnp.cumsum(ends, axis=-1) - ends == 0)


@dataclasses.dataclass(frozen=True)
class BagOfWords:
  """A logistic regression on the words of a prompt, as a model function: logits f[B, 1], above 0 where it is flagged.

  Args:
    words: size of the vocabulary.
    prompt: which tokens are read.

  Example:
    >>> gate = BagOfWords(4)
    >>> params = {"weight": jnp.array([0.0, 0.0, 1.0, 3.0]), "bias": jnp.array(-2.0)}
    >>> gate(params, {"tokens": jnp.array([[1, 2], [3, 2]])}).logits.tolist()
    [[-1.0], [2.0]]
  """

  words: int
  prompt: Prompt = whole_prompt

  def __post_init__(self):
    check.positive("words", self.words)

  def __call__(self, params: Params, inputs: Mapping[str, Array], *, state=(), **_: Any) -> Outputs:
    each = jnp.where(self.prompt(inputs), params["weight"][inputs["tokens"]], 0)
    return Outputs((each.sum(-1) + params["bias"])[:, None], {}, state)

  def init(self, key: Array) -> Model:
    """All weights 0: it knows nothing and flags nothing."""
    del key
    return Model({"weight": jnp.zeros(self.words), "bias": jnp.zeros(())}, fn=self)
