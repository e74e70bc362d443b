"""Prompts found by greedy coordinate gradients: what a model can still be made to say.

Zou et al. 2023, arXiv:2307.15043; as a measure of memorisation Schwarzschild et al. 2024, arXiv:2404.15146.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Model, check
from unlearnjax.core.tree import fold_name, get_path
from unlearnjax.core.types import Array
from unlearnjax.losses.tokens import token_nll


class Prompt(NamedTuple):
  """What a search found.

  Attributes:
    tokens: int32[n], the free tokens with the least loss, or the first that succeeded.
    loss: mean nll of the target tokens after them.
    success: greedy decoding gives the target exactly.
    steps: how many were made.
  """

  tokens: np.ndarray
  loss: float
  success: bool
  steps: int


def gcg(
  model: Model,
  target,
  length: int,
  *,
  key: Array,
  prefix=(),
  suffix=(),
  steps: int = 200,
  width: int = 100,
  topk: int = 250,
  allowed: Array | None = None,
  guided: bool = True,
  site: str = "embed",
  table: str = "embed/table",
  chunk: int | None = None,
) -> Prompt:
  """Searches free tokens after which the model says the target: `prefix, FREE, suffix, target`.

  A step takes the gradient in the embeddings of the free tokens, draws `width` replacements of one token by one of the
  `topk` that the gradient likes best, and goes to the best of them even where that is worse; it stops once the target
  is the greedy continuation. With several rows the free tokens are shared (a universal prompt). The retrained model is
  the control: with enough free tokens any model can be made to say anything. Score a universal prompt on rows that it
  was not searched on.

  Args:
    model: a causal language model.
    target: int[m], or int[B, m] for several rows at once.
    length: n >= 1 free tokens.
    key: a typed key; same key, same prompt.
    prefix: int[p] before the free tokens.
    suffix: int[s], or int[B, s], between them and the target, e.g. questions.
    steps: at most so many.
    width: candidates of a step.
    topk: tokens considered at a position.
    allowed: bool[V], tokens that may be used, e.g. those that survive decoding and encoding; all by default.
    guided: False draws replacements from all allowed tokens: random search.
    site: of the embedded tokens f[B, T, d]; injections there see the model's input.
    table: path of the embeddings f[V, d] in the parameters.
    chunk: candidates evaluated at once; all by default.

  Returns:
    a `Prompt`.

  Raises:
    ValueError: a size below one, rows of target and suffix that do not fit, fewer than two allowed tokens.

  Example:
    >>> from unlearnjax.models import transformer
    >>> model = transformer("llama", vocab_size=16, dim=8, depth=1, heads=2).init(jax.random.key(0))
    >>> found = gcg(model, [3], 2, key=jax.random.key(1), steps=3, width=4, topk=8)
    >>> found.tokens.shape, found.steps <= 3
    ((2,), True)
  """
  for name, value in (("length", length), ("steps", steps), ("width", width), ("topk", topk)):
    check.positive(name, value)
  target = jnp.atleast_2d(jnp.asarray(target, jnp.int32))
  suffix = jnp.atleast_2d(jnp.asarray(suffix, jnp.int32))
  rows = max(target.shape[0], suffix.shape[0])
  if not target.shape[1] or {target.shape[0], suffix.shape[0]} - {1, rows}:
    raise ValueError(f"target must be int[m] or int[B, m] and suffix fit it, got {target.shape} and {suffix.shape}")
  vectors = get_path(model.params, tuple(table.split("/")))
  usable = jnp.ones(vectors.shape[0], bool) if allowed is None else jnp.asarray(allowed, bool)
  if usable.shape != vectors.shape[:1] or int(usable.sum()) < 2:
    raise ValueError(f"allowed must be bool[{vectors.shape[0]}] with at least two tokens, got shape {usable.shape}")
  wide = lambda x: jnp.broadcast_to(x, (rows, x.shape[-1]))
  parts = wide(jnp.asarray(prefix, jnp.int32).reshape(1, -1)), wide(suffix), wide(target)
  topk = min(topk, int(usable.sum()) - 1)
  out = _search(model, parts, vectors, usable, key, steps, length, width, topk, guided, site, chunk)
  tokens, loss, success, made = jax.device_get(out)
  return Prompt(np.asarray(tokens), float(loss), bool(success), int(made))


@functools.partial(jax.jit, static_argnames=("length", "width", "topk", "guided", "site", "chunk"))
def _search(model, parts, vectors, usable, key, steps, length, width, topk, guided, site, chunk):
  prefix, suffix, target = parts
  start = prefix.shape[1]

  def score(free, shift=None):
    """(mean nll of the target, whether greedy decoding gives it)."""
    tokens = jnp.concatenate([prefix, jnp.broadcast_to(free, (prefix.shape[0], length)), suffix, target], 1)
    inject = {} if shift is None else {site: lambda h: h.at[:, start : start + length].add(shift.astype(h.dtype))}
    logits = model({"tokens": tokens}, inject=inject).logits[:, -target.shape[1] - 1 : -1]
    return jnp.mean(token_nll(logits, target)), jnp.all(jnp.argmax(logits, -1) == target)

  def candidates(free, key):
    at, which = jax.random.split(key)
    position = jax.random.randint(at, (width,), 0, length)
    if guided:
      slope = jax.grad(lambda shift: score(free, shift)[0])(jnp.zeros((length, vectors.shape[1])))
      liked = -slope @ vectors.T.astype(slope.dtype)
    else:
      liked = jax.random.gumbel(fold_name(key, "any"), (length, vectors.shape[0]))
    liked = jnp.where(usable, liked, -jnp.inf).at[jnp.arange(length), free].set(-jnp.inf)  # every one changes a token
    best = jax.lax.top_k(liked, topk)[1]
    drawn = best[position, jax.random.randint(which, (width,), 0, topk)]
    return jnp.broadcast_to(free, (width, length)).at[jnp.arange(width), position].set(drawn.astype(free.dtype))

  def step(carry):
    made, free, best, best_loss, _ = carry
    tried = candidates(free, jax.random.fold_in(key, made))
    losses, said = jax.lax.map(score, tried, batch_size=chunk or width)
    chosen = jnp.argmin(losses)
    better = (losses[chosen] < best_loss) | said[chosen]
    best = jnp.where(better, tried[chosen], best)
    return made + 1, tried[chosen], best, jnp.where(better, losses[chosen], best_loss), said[chosen]

  even = jnp.where(usable, 0.0, -jnp.inf)
  first = jax.random.categorical(fold_name(key, "start"), even, shape=(length,)).astype(jnp.int32)
  loss, said = score(first)
  carry = jnp.zeros((), jnp.int32), first, first, loss, said
  made, _, best, loss, said = jax.lax.while_loop(lambda c: (c[0] < steps) & ~c[4], step, carry)
  return best, loss, said, made


class Compression(NamedTuple):
  """How few tokens bring a text back.

  Attributes:
    ratio: target tokens per prompt token; 0 where no prompt was found. Above 1 the text counts as memorised.
    prompt: the shortest prompt found, None without.
  """

  ratio: float
  prompt: Prompt | None


def compression_ratio(
  model: Model, target, *, key: Array, first: int = 5, most: int | None = None, steps: int = 200, **options
) -> Compression:
  """Adversarial compression ratio: length of a text over that of the shortest prompt that makes the model say it.

  Lower forgot more; a text that is answered with a refusal can still be above 1. MiniPrompt: one token less after a
  success, five more and 1.2 times the steps after a failure, until both meet. Success is not monotone in the length, so
  a shorter prompt may be missed: the ratio is a lower bound. Schwarzschild et al. 2024, arXiv:2404.15146 (paper 122).

  Args:
    model: a causal language model.
    target: int[m] tokens of the text.
    key: a typed key.
    first: length tried first.
    most: lengths stay below it; 5 m by default.
    steps: of the first search.
    **options: of `gcg`.

  Raises:
    ValueError: a target that is no vector, first >= most.
  """
  target = np.asarray(target)
  if target.ndim != 1 or not len(target):
    raise ValueError(f"target must be int[m] with m >= 1, got shape {target.shape}")
  high = 5 * len(target) if most is None else most
  length = min(first, high - 1) if most is None else first
  if not 1 <= length < high:
    raise ValueError(f"first must be in [1, most), got first={first} and most={high}")
  low, found = 0, None
  while low < length < high:
    tried = gcg(model, target, length, key=jax.random.fold_in(key, length), steps=steps, **options)
    if tried.success:
      high, found, length = length, tried, length - 1
    else:
      low, length, steps = length, length + 5, int(1.2 * steps)
  return Compression(0.0 if found is None else len(target) / len(found.tokens), found)
