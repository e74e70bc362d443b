"""A small language model that can be asked questions, and one request to forget some answers."""

from __future__ import annotations

import functools
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import objectives
from unlearnjax.core import Examples, ForgetRequest, Model, Outputs
from unlearnjax.training import Recipe, train

QUESTIONS, WORDS, LENGTH = 12, 9, 4
PAD, REFUSAL = 0, (1, 2)


class AskFn:
  """Looks the question up (the first token), adds the last token and the position, one tanh layer, one head."""

  def __call__(self, params, inputs, *, state=(), capture=(), inject=MappingProxyType({}), **_):
    tokens = inputs["tokens"]
    asked = params["asked"]["embedding"][tokens[:, :1]]
    h = asked + params["last"]["embedding"][tokens] + params["place"]["embedding"][: tokens.shape[1]]
    h = inject["embed"](h) if "embed" in inject else h
    h = jnp.tanh(h) @ params["body"]["kernel"]
    return Outputs(jnp.tanh(h) @ params["head"]["kernel"], {"body": h} if "body" in capture else {}, state)

  def init(self, key, width=16):
    shapes = {
      "asked": {"embedding": (WORDS + QUESTIONS, width)},
      "last": {"embedding": (WORDS + QUESTIONS, width)},
      "place": {"embedding": (LENGTH, width)},
      "body": {"kernel": (width, width)},
      "head": {"kernel": (width, WORDS + QUESTIONS)},
    }
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, s) / s[0] ** (s[0] == s[-1]) ** 0.5 for k, s in zip(keys, leaves)]
    return Model(tree.unflatten(drawn), fn=self)


ASK = AskFn()


def answers(copies=7, seed=0) -> Examples:
  """Every question with its answer of two or three words, `copies` times, and a refusal."""
  rng = np.random.default_rng(seed)
  said = rng.integers(3, WORDS, (QUESTIONS, LENGTH - 1))
  long = rng.integers(0, 2, QUESTIONS)
  said[:, -1] = np.where(long, said[:, -1], PAD)
  question = WORDS + np.arange(QUESTIONS)
  tokens = np.concatenate([question[:, None], said], 1)
  mask = np.concatenate([np.zeros((QUESTIONS, 1), bool), said != PAD], 1)
  refused = np.full((QUESTIONS, LENGTH), PAD)
  refused[:, 0], refused[:, 1:3] = question, REFUSAL
  columns = {
    "tokens": tokens.astype(np.int32),
    "mask": mask,
    "alt_tokens": refused.astype(np.int32),
    "alt_mask": np.arange(LENGTH)[None].repeat(QUESTIONS, 0) % 3 > 0,
    "question": np.arange(QUESTIONS, dtype=np.int32),
  }
  return Examples({k: np.repeat(v, copies, 0) for k, v in columns.items()})


@functools.cache
def told() -> tuple[Model, ForgetRequest]:
  """A model that knows all answers, and the request to forget those to the first three questions."""
  table = answers()
  first = table.column("question") < 3
  request = ForgetRequest(table.where(first), table.where(~first), table.where(first).ids)
  recipe = Recipe(optax.adam(0.01), 40, 18, objectives.nll)
  return train(ASK, table, recipe, key=jax.random.key(0)), request
