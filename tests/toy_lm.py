"""The smallest language models, and sequences for them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Examples, Model, Outputs, View

VOCABULARY = 6


def bigram(params, inputs, *, capture=(), **_):
  """Logits from the last token alone; the site "embed" is its embedding, which the head reads."""
  hidden = params["embed"][inputs["tokens"]]
  return Outputs(hidden @ params["head"], {site: hidden for site in capture})


def bigram_params(seed=0, width=4, vocabulary=VOCABULARY):
  a, b = jax.random.split(jax.random.key(seed))
  return {"embed": jax.random.normal(a, (vocabulary, width)), "head": jax.random.normal(b, (width, vocabulary))}


def bigram_model(seed=0):
  return Model(bigram_params(seed), fn=bigram)


def sentences(count, length=7, seed=0, vocabulary=VOCABULARY, alternatives=True):
  """Prompts of two tokens and answers of two tokens or more, padded with token 0."""
  rng = np.random.default_rng(seed)
  columns = {}
  for prefix in ("", "alt_") if alternatives else ("",):
    ends = rng.integers(4, length + 1, count)
    place = np.arange(length)
    tokens = rng.integers(1, vocabulary, (count, length))
    columns[f"{prefix}tokens"] = np.where(place < ends[:, None], tokens, 0).astype(np.int32)
    columns[f"{prefix}mask"] = (place >= 2) & (place < ends[:, None])
  if alternatives:
    columns["alt_tokens"][:, :2] = columns["tokens"][:, :2]
  return Examples(columns)


def view(refs=None, seed=0):
  return View(jnp.zeros((), jnp.int32), jax.random.key(seed), refs or {}, {}, ())
