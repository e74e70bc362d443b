"""Prompts that are flagged are read through corrupted embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Guard, Model, ModelFn, Outputs, Params, Refs
from unlearnjax.guards.gate import Prompt, whole_prompt

KINDS = ("noise", "zero_top")


def corrupted(
  gate: ModelFn,
  *,
  threshold: float = 0.99,
  kind: str = "noise",
  prompt: Prompt = whole_prompt,
  site: str = "embed",
  ref: str = "guard",
) -> Guard:
  """Corrupts the embeddings of prompts that a classifier flags; others are computed bit by bit as before.

  The corruption is the same at every call. Steps of one token with a cache are left alone: the prompt was read before.
  Liu et al. 2024, arXiv:2406.07933 (paper 48).

  Args:
    gate: a model function over the same inputs with logits f[B, 1], e.g. `BagOfWords`.
    threshold: flagged is sigmoid(logit) > threshold; the paper takes 0.99 to 0.9999.
    kind: "noise" adds `strength` times normal noise, "zero_top" sets the `strength` largest entries of a token to 0.
    prompt: which tokens are corrupted.
    site: f[B, T, d] that is rewritten.
    ref: `refs[ref] = {"gate": parameters, "strength": f[], "seed": int32[]}`; `init` gives an untrained gate and
      strength 0.

  Example:
    >>> from unlearnjax import models
    >>> from unlearnjax.guards.assisted import attach
    >>> from unlearnjax.guards.gate import BagOfWords
    >>> model = models.transformer("llama", vocab_size=8, dim=4, depth=1, heads=2).init(jax.random.key(0))
    >>> guarded = attach(corrupted(BagOfWords(8)), model, jax.random.key(1))
    >>> tokens = {"tokens": jnp.ones((1, 3), int)}
    >>> bool((guarded(tokens).logits == model(tokens).logits).all())
    True
  """
  check.one_of("kind", kind, KINDS)

  def init(model: Model, key: Array) -> Refs:
    del model
    drawn = jax.random.randint(fold_name(key, ref), (), 0, jnp.iinfo(jnp.int32).max)
    return {ref: {"gate": gate.init(key).params, "strength": jnp.zeros(()), "seed": drawn}}

  return Guard(init, lambda fn: Corrupted(fn, gate, threshold, kind, prompt, site, ref))


@dataclasses.dataclass(frozen=True)
class Corrupted:
  """The function that `corrupted` binds. `always` flags every prompt, to search the strength."""

  fn: ModelFn
  gate: ModelFn
  threshold: float
  kind: str
  prompt: Prompt
  site: str
  ref: str
  always: bool = False

  def __call__(
    self,
    params: Params,
    inputs: Mapping[str, Array],
    *,
    state: ArrayTree = (),
    refs: Refs = EMPTY,
    inject: Mapping[str, Callable[[Array], Array]] = EMPTY,
    **rest: Any,
  ) -> Outputs:
    if self.ref not in refs:
      raise ValueError(f"refs has no {self.ref!r}, the gate and the strength of this guard; found {sorted(refs)}")
    own, rows = refs[self.ref], inputs["tokens"].shape
    if rows[1] > 1 or not jax.tree.leaves(state):
      where = self.prompt(inputs)
      if not self.always:
        where &= jax.nn.sigmoid(self.gate(own["gate"], inputs).logits) > self.threshold
      after = inject.get(self.site, lambda h: h)
      change = lambda h: after(jnp.where(where[..., None], self._corrupt(h, where, own), h))
      inject = {**inject, self.site: change}
    return self.fn(params, inputs, state=state, refs=refs, inject=inject, **rest)

  def _corrupt(self, h: Array, where: Array, own: Refs) -> Array:
    if self.kind == "zero_top":
      order = jnp.argsort(jnp.argsort(-jnp.abs(h), axis=-1), axis=-1)
      return jnp.where(order < own["strength"], 0, h)
    noise = jax.random.normal(jax.random.key(own["seed"]), h.shape[1:], h.dtype)
    place = jnp.maximum(jnp.cumsum(where, axis=-1) - 1, 0)  # within the prompt, wherever padding moved it
    return h + own["strength"].astype(h.dtype) * noise[place]

  @property
  def cache(self) -> Callable[..., ArrayTree]:
    return self.fn.cache

  def init(self, key: Array) -> Model:
    """A fresh model behind an untrained gate."""
    model = self.fn.init(fold_name(key, "model"))
    guard = corrupted(
      self.gate, threshold=self.threshold, kind=self.kind, prompt=self.prompt, site=self.site, ref=self.ref
    )
    return Model(model.params, model.state, {**model.refs, **guard.init(model, key)}, self)
