"""The first layers of a Transformer as a model of its own."""

from __future__ import annotations

import dataclasses

import jax

from unlearnjax.core.types import Params
from unlearnjax.models.decoder.model import Transformer


def first_layers(fn: Transformer, depth: int) -> Transformer:
  """The same embedding, `depth` layers, final norm and head. `first_layers_of` cuts its weights out.

  Args:
    fn: a Transformer of `depth` layers or more.
    depth: >= 1.

  Raises:
    ValueError: a function that is no Transformer, or has fewer layers.

  Example:
    >>> from unlearnjax.models import transformer
    >>> model = transformer("llama", vocab_size=16, dim=8, depth=3, heads=2).init(jax.random.key(0))
    >>> short = first_layers(model.fn, 1)
    >>> short(first_layers_of(model.params, 1), {"tokens": jax.numpy.ones((1, 2), int)}).logits.shape
    (1, 2, 16)
  """
  if not isinstance(fn, Transformer):
    raise ValueError(f"only a Transformer can be cut after some layers, got {type(fn).__name__}: give a model function")
  if not 1 <= depth <= fn.config.depth:
    raise ValueError(f"depth must be from 1 to the {fn.config.depth} layers of the model, got {depth}")
  config = dataclasses.replace(fn.config, depth=depth, windows=fn.config.windows[:depth])
  return dataclasses.replace(fn, config=config)


def first_layers_of(params: Params, depth: int) -> Params:
  """The weights for `first_layers(fn, depth)`, copied from those of the whole model."""
  return {**params, "blocks": jax.tree.map(lambda x: x[:depth], params["blocks"])}
