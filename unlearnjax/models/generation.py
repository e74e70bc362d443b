"""Text generation with a cache of keys and values, as one compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.types import Array, ArrayTree, Model


class Generated(NamedTuple):
  """What `generate` returns.

  Attributes:
    tokens: int32[B, N], the new tokens; from a row's stop token on, that token.
    lengths: int32[B], how many tokens came before the stop token.
  """

  tokens: Array
  lengths: Array


def generate(
  model: Model,
  tokens: Array,
  new_tokens: int,
  *,
  segment_ids: Array | None = None,
  temperature: float = 0.0,
  top_p: float = 1.0,
  key: Array | None = None,
  stop: int | Sequence[int] | None = None,
  cache: Callable[[int, int], ArrayTree] | None = None,
) -> Generated:
  """Continues prompts, greedily or by sampling.

  Args:
    model: a language model.
    tokens: int32[B, T] prompts, padded on the left or on the right where they differ in length.
    new_tokens: N >= 1.
    segment_ids: int32[B, T], 1 for tokens and 0 for padding; without it no token is padding.
    temperature: logits are divided by it; 0 takes the likeliest token.
    top_p: sample among the likeliest tokens that together have at least this probability, in (0, 1].
      Holtzman et al., arXiv:1904.09751.
    key: for sampling. A row's draws depend on its number in the batch, not on the other rows.
    stop: token or tokens that end a row; generation stops once all rows have ended.
    cache: `(rows, slots) -> empty cache`; that of `model.fn` by default. A function that wraps a `Transformer` (LoRA, a
      guard) is given the cache of the inner one; without any, every step computes the whole sequence.

  Returns:
    `Generated(tokens int32[B, N], lengths int32[B])`.

  Raises:
    ValueError: sampling without a key, a row without tokens, more tokens than the context.

  Example:
    >>> from unlearnjax.models import transformer
    >>> model = transformer("llama", vocab_size=16, dim=8, depth=1, heads=2).init(jax.random.key(0))
    >>> generate(model, jnp.array([[1, 2, 3]]), 4).tokens.shape
    (1, 4)
  """
  tokens = jnp.asarray(tokens, jnp.int32)
  if tokens.ndim != 2 or not tokens.size:
    raise ValueError(f"tokens must be int32[B, T] with at least one token a row, got shape {tokens.shape}")
  check.positive("new_tokens", new_tokens)
  check.positive("temperature", temperature, zero=True)
  check.fraction("top_p", top_p)
  if temperature and key is None:
    raise ValueError(f"sampling at temperature {temperature} needs a key")
  if segment_ids is not None:
    segment_ids = jnp.asarray(segment_ids, jnp.int32)
    if segment_ids.shape != tokens.shape:
      raise ValueError(f"segment_ids must have the shape of tokens {tokens.shape}, got {segment_ids.shape}")
    if not bool(segment_ids.any(1).all()):
      raise ValueError("every row of segment_ids must hold a token, but one is all padding")
  stops = () if stop is None else (stop,) if isinstance(stop, int) else tuple(int(s) for s in stop)
  key = jax.random.key(0) if key is None else key
  cache = getattr(model.fn, "cache", None) if cache is None else cache
  greedy = not temperature
  return _generate(model, tokens, segment_ids, key, temperature, top_p, new_tokens, stops, cache, greedy, top_p < 1)


def sample(logits: Array, keys: Array, temperature: Array | float = 1.0, top_p: Array | float | None = None) -> Array:
  """One token a row: int32[B].

  Args:
    logits: f[B, V].
    keys: typed keys [B].
    temperature: > 0.
    top_p: in (0, 1]; None keeps all tokens. The likeliest token is always kept.

  Example:
    >>> keys = jax.random.split(jax.random.key(0), 8)
    >>> set(sample(jnp.log(jnp.array([[0.6, 0.3, 0.1]] * 8)), keys, top_p=0.5).tolist())
    {0}
  """
  logits = logits / temperature
  if top_p is not None:
    order = jnp.sort(logits, axis=-1, descending=True)
    before = jnp.cumsum(jax.nn.softmax(order, axis=-1), axis=-1) - jax.nn.softmax(order, axis=-1)
    least = jnp.where(before < top_p, order, jnp.inf).min(-1, keepdims=True)
    logits = jnp.where(logits >= least, logits, -jnp.inf)
  return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("new", "stops", "cache", "greedy", "nucleus"))
def _generate(model, tokens, segments, key, temperature, top_p, new, stops, cache, greedy, nucleus) -> Generated:
  batch, length = tokens.shape
  real = jnp.ones_like(tokens) if segments is None else segments
  last = length - 1 - jnp.argmax((real != 0)[:, ::-1], axis=1)  # of each row's prompt
  own = jnp.take_along_axis(real, last[:, None], axis=1)  # the segment that goes on
  rows = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
  start, advance = _cached(model, own, cache) if cache is not None else _whole(model, length)

  def choose(logits, step):
    if greedy:
      return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (0, None))(rows, step)
    return sample(logits, keys, temperature, top_p if nucleus else None)

  def emit(step, logits, token, done, out, lengths):
    token = jnp.where(done, token, choose(logits, step))
    done = done | jnp.isin(token, jnp.asarray(stops, jnp.int32))
    return token, done, out.at[:, step].set(token), lengths + ~done

  def body(carry):
    step, state, token, done, out, lengths = carry
    logits, state = advance(state, token, step)
    return step + 1, state, *emit(step, logits, token, done, out, lengths)

  logits, state = start(tokens, segments, last, new)
  zero = jnp.zeros(batch, jnp.int32)
  first = emit(0, logits, zero, zero > 0, jnp.zeros((batch, new), jnp.int32), zero)
  carry = (jnp.ones((), jnp.int32), state, *first)
  steps, _, token, _, out, lengths = jax.lax.while_loop(lambda c: (c[0] < new) & ~c[3].all(), body, carry)
  return Generated(jnp.where(jnp.arange(new) < steps, out, token[:, None]), lengths)


def _inputs(tokens: Array, segments: Array | None) -> dict[str, Array]:
  return {"tokens": tokens} if segments is None else {"tokens": tokens, "segment_ids": segments}


def _at(logits: Array, index: Array) -> Array:
  """f[B, T, V] at one position a row."""
  return jnp.take_along_axis(logits, index[:, None, None], axis=1)[:, 0]


def _cached(model: Model, own: Array, cache) -> tuple[Callable, Callable]:
  """`start` reads the prompt into a cache, `advance` one token more; both give the logits of the next token."""

  def start(tokens, segments, last, new):
    state = cache(tokens.shape[0], tokens.shape[1] + new)
    out = model.fn(model.params, _inputs(tokens, segments), state=state, refs=model.refs)
    return _at(out.logits, last), out.state

  def advance(state, token, step):
    out = model.fn(model.params, _inputs(token[:, None], own), state=state, refs=model.refs)
    return out.logits[:, -1], out.state

  return start, advance


def _whole(model: Model, length: int) -> tuple[Callable, Callable]:
  """The same for models without a cache: the state is the whole sequence so far."""

  def start(tokens, segments, last, new):
    longer = lambda x: None if x is None else jnp.pad(x, ((0, 0), (0, new)))
    state = (
      longer(tokens),
      longer(segments),
      None if segments is None else jnp.take_along_axis(segments, last[:, None], 1)[:, 0],
    )
    return _at(model(_inputs(*state[:2])).logits, last), state

  def advance(state, token, step):
    tokens, segments, own = state
    slot = length + step - 1
    tokens = tokens.at[:, slot].set(token)
    segments = None if segments is None else segments.at[:, slot].set(own)
    logits = model(_inputs(tokens, segments)).logits
    return jax.lax.dynamic_index_in_dim(logits, slot, 1, keepdims=False), (tokens, segments, own)

  return start, advance
