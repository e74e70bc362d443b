"""Guards at the last layer: words that would complete a text are banned, or all words are mixed with chance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import as_examples, check
from unlearnjax.core.types import EMPTY, Array, Guard, Model, ModelFn, Outputs, Params, Refs


def without_ngrams(source: Any, n: int = 10, *, ref: str = "ngrams") -> Guard:
  """Bans every token that would complete an n-gram of some texts: MemFree decoding, exact.

  Copies end after n - 1 tokens; paraphrases pass. Ippolito et al. 2023, arXiv:2210.17546; a baseline of Jang et al.
  2023, arXiv:2210.01504 (paper 25).

  Args:
    source: a `Source` of language, the texts; their n-grams that end in a scored token count, see `objectives.tokens`.
    n: >= 1.
    ref: `refs[ref]`, int32[M, n], the sorted n-grams.

  Returns:
    a Guard over any function from "tokens" to logits f[B, T, V]. The ban reads the tokens before, so that generation
    computes the whole sequence at every step: the guarded function has no cache.

  Raises:
    ValueError: the texts hold no n-gram.

  Example:
    >>> from unlearnjax.core import Examples
    >>> from unlearnjax.guards import attach
    >>> counts = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> model = Model(jnp.roll(jnp.eye(4), 1, axis=1), fn=counts)
    >>> texts = Examples({"tokens": np.array([[0, 1, 2]]), "mask": np.ones((1, 3), bool)})
    >>> guarded = attach(without_ngrams(texts, 3), model, jax.random.key(0))
    >>> guarded({"tokens": jnp.array([[0, 1], [3, 1]])}).logits.argmax(-1)[:, -1].tolist()
    [0, 2]
  """
  check.positive("n", n)
  source = as_examples(source)
  tokens, mask = source.column("tokens"), source.column("mask")
  if tokens.shape[1] < n or not mask[:, n - 1 :].any():
    raise ValueError(f"source holds no {n}-gram that ends in a scored token; its rows have {tokens.shape[1]} tokens")
  windows = np.lib.stride_tricks.sliding_window_view(tokens, n, axis=1)[mask[:, n - 1 :]]
  table = np.unique(windows, axis=0).astype(np.int32)  # sorted: those of one beginning stand together
  fan = int(np.unique(table[:, :-1], axis=0, return_counts=True)[1].max()) if n > 1 else len(table)
  return Guard(lambda model, key: {ref: jnp.asarray(table)}, lambda fn: WithoutNgrams(fn, fan, ref))


@dataclasses.dataclass(frozen=True)
class WithoutNgrams:
  """The function that `without_ngrams` binds; at most `fan` tokens are banned at once."""

  fn: ModelFn
  fan: int
  ref: str

  def __call__(self, params: Params, inputs: Mapping[str, Array], *, refs: Refs = EMPTY, **rest: Any) -> Outputs:
    if self.ref not in refs:
      raise ValueError(f"refs has no {self.ref!r}, the n-grams of this guard; found {sorted(refs)}")
    out, table = self.fn(params, inputs, refs=refs, **rest), refs[self.ref]
    before = _last(inputs["tokens"], table.shape[1] - 1)
    low, high = (_rank(table[:, :-1], before, after) for after in (False, True))
    row = low[..., None] + jnp.arange(self.fan)
    banned = jnp.where(row < high[..., None], table[jnp.minimum(row, len(table) - 1), -1], out.logits.shape[-1])
    b, t = jnp.indices(banned.shape[:2])
    return out.replace(logits=out.logits.at[b[..., None], t[..., None], banned].set(-jnp.inf, mode="drop"))

  def init(self, key: Array) -> Model:
    """A fresh model; the n-grams are not its own, so they must be given in refs."""
    return self.fn.init(key).replace(fn=self)


def mixed_with_chance(weight: float) -> Guard:
  """weight p + (1 - weight) / V in the place of p: decoding with a privacy budget, without training.

  Majmudar et al. 2022, arXiv:2205.13621; a baseline of Jang et al. 2023, arXiv:2210.01504 (paper 25), whose code mixes
  logits with their mean, which is another thing: a temperature of 1 / weight. The first choice stays, so greedy
  decoding sees nothing of it.

  Args:
    weight: lambda in [0, 1]; 1 changes nothing, 0 is chance.

  Example:
    >>> from unlearnjax.guards import attach
    >>> bigram = lambda params, inputs, **_: Outputs(params[inputs["tokens"]])
    >>> model = Model(jnp.log(jnp.array([[0.8, 0.2]] * 2)), fn=bigram)
    >>> guarded = attach(mixed_with_chance(0.5), model, jax.random.key(0))
    >>> p = jax.nn.softmax(guarded({"tokens": jnp.array([[0]])}).logits)[0, 0]
    >>> [round(float(x), 3) for x in p]
    [0.65, 0.35]
  """
  check.fraction("weight", weight, zero=True)
  return Guard(lambda model, key: {}, lambda fn: MixedWithChance(fn, float(weight)))


@dataclasses.dataclass(frozen=True)
class MixedWithChance:
  """The function that `mixed_with_chance` binds."""

  fn: ModelFn
  weight: float

  def __call__(self, params: Params, inputs: Mapping[str, Array], **rest: Any) -> Outputs:
    out = self.fn(params, inputs, **rest)
    if self.weight == 1:
      return out
    logp = jax.nn.log_softmax(out.logits, axis=-1)
    chance = math.log1p(-self.weight) - math.log(logp.shape[-1])
    own = math.log(self.weight) if self.weight else -jnp.inf
    return out.replace(logits=jnp.logaddexp(own + logp, chance).astype(out.logits.dtype))

  @property
  def cache(self):
    return self.fn.cache

  def init(self, key: Array) -> Model:
    """A fresh model behind the mixture."""
    return self.fn.init(key).replace(fn=self)


def _last(tokens: Array, count: int) -> Array:
  """The `count` tokens up to each position, int32[B, T, count]; -1, which no text holds, before the first."""
  padded = jnp.pad(jnp.asarray(tokens, jnp.int32), ((0, 0), (count - 1, 0)), constant_values=-1) if count else tokens
  width = tokens.shape[1]
  parts = [padded[:, i : i + width] for i in range(count)]
  return jnp.stack(parts, axis=-1) if parts else jnp.zeros((*tokens.shape, 0), jnp.int32)


def _rank(table: Array, rows: Array, after: bool) -> Array:
  """How many rows of a sorted table int[M, k] come before, or do not come after, each of `rows` int[..., k]."""

  def less(a, b):  # lexicographic; equal rows are less iff `after`
    differs = a != b
    first = jnp.argmax(differs, axis=-1)[..., None]
    smaller = jnp.take_along_axis(a, first, -1) < jnp.take_along_axis(b, first, -1)
    return jnp.where(differs.any(-1), smaller[..., 0], after)

  size, steps = len(table), max(len(table), 1).bit_length()
  low = jnp.zeros(rows.shape[:-1], jnp.int32)
  if not rows.shape[-1]:
    return low + (size if after else 0)

  def halve(_, ends):
    low, high = ends
    middle = (low + high) // 2
    down = (low < high) & less(table[jnp.minimum(middle, size - 1)], rows)
    return jnp.where(down, middle + 1, low), jnp.where((low < high) & ~down, middle, high)

  return jax.lax.fori_loop(0, steps, halve, (low, low + size))[0]
