"""A second model that is asked along, and whose logits correct those of the first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, Array, ArrayTree, Guard, Model, ModelFn, Outputs, Params, Refs


def attach(guard: Guard, model: Model, key: Array) -> Model:
  """The guarded model: the weights as they are, the guard's arrays among the refs.

  Args:
    guard: from this package, or your own.
    model: what is guarded; it may hold refs of its own.
    key: a typed key, for guards that draw their arrays.

  Raises:
    ValueError: the model already holds refs of that name.
  """
  refs = guard.init(model, key)
  twice = sorted(set(refs) & set(model.refs))
  if twice:
    raise ValueError(f"the model already holds the refs {twice}: give the guard another ref=")
  return Model(model.params, model.state, {**model.refs, **refs}, guard.bind(model.fn))


def assisted(assistant: ModelFn, correct: Callable[[Array, Array], Array], *, ref: str = "assistant") -> Guard:
  """Logits corrected by those of an assistant over the same tokens.

  Args:
    assistant: its model function; its weights are `refs[ref] = {"params", "state"}`. `init` draws fresh ones.
    correct: `(logits f[B, T, V], the assistant's f[B, T, V]) -> f[B, T, V]`, such as `subtracted(0.8)`.
    ref: name of the assistant among the refs.

  Example:
    >>> double = lambda params, inputs, **_: Outputs(params * inputs["x"])
    >>> fn = assisted(double, lambda a, b: a - b).bind(double)
    >>> fn(5.0, {"x": jnp.ones((1, 1))}, refs={"assistant": {"params": 2.0}}).logits.tolist()
    [[3.0]]
  """

  def init(model: Model, key: Array) -> Refs:
    del model
    fresh = assistant.init(fold_name(key, ref))
    return {ref: {"params": fresh.params, "state": fresh.state}}

  return Guard(init, lambda fn: Assisted(fn, assistant, correct, ref))


@dataclasses.dataclass(frozen=True)
class Assisted:
  """The function that `assisted` binds. Gradients reach `params` alone; sites are those of the guarded model."""

  fn: ModelFn
  assistant: ModelFn
  correct: Callable[[Array, Array], Array]
  ref: str

  def __call__(
    self, params: Params, inputs: Mapping[str, Array], *, state: ArrayTree = (), refs: Refs = EMPTY, **rest: Any
  ) -> Outputs:
    if self.ref not in refs:
      raise ValueError(f"refs has no {self.ref!r}, the assistant that this guard asks; found {sorted(refs)}")
    helper, caches = refs[self.ref], isinstance(state, Mapping) and set(state) == {"guarded", "assistant"}
    out = self.fn(params, inputs, state=state["guarded"] if caches else state, refs=refs, **rest)
    own = state["assistant"] if caches else helper.get("state", ())
    other = jax.lax.stop_gradient(self.assistant(helper["params"], inputs, state=own, refs=refs))
    after = {"guarded": out.state, "assistant": other.state} if caches else out.state
    return out.replace(logits=self.correct(out.logits, other.logits), state=after)

  @property
  def cache(self) -> Callable[..., ArrayTree]:
    """Caches of both models, where both have one; without, `models.generate` computes the whole sequence."""
    both = {"guarded": self.fn.cache, "assistant": self.assistant.cache}
    return lambda *sizes: {name: make(*sizes) for name, make in both.items()}

  def init(self, key: Array) -> Model:
    """A fresh model with a fresh assistant."""
    return attach(assisted(self.assistant, self.correct, ref=self.ref), self.fn.init(fold_name(key, "model")), key)


@dataclasses.dataclass(frozen=True)
class _Subtracted:
  weight: float
  keep: float

  def __call__(self, logits: Array, assistant: Array) -> Array:
    size = logits.shape[-1]
    said = jax.nn.log_softmax(assistant.astype(jnp.float32), axis=-1) + math.log(size)  # 0 where it knows nothing
    if self.keep < 1:
      logp = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
      least = jax.lax.top_k(logp, max(1, int(self.keep * size)))[0][..., -1:]
      least = jnp.minimum(least, logp.max(-1, keepdims=True) + math.log(self.keep))
      said = jnp.where(logp >= least, said, 0)
    return logits - self.weight * said.astype(logits.dtype)


def subtracted(weight: float = 0.8, *, keep: float = 1e-2) -> Callable[[Array, Array], Array]:
  """logits - weight * (log p_assistant + ln V), for the tokens that the model itself finds likely.

  An assistant that is uniform changes nothing, whatever the weight. Likely are the int(keep * V) first tokens, at least
  one, and all of probability >= keep times the largest. Ji et al. 2024, arXiv:2406.08607 (paper 37); without the shift
  by ln V, which the softmax does not see when keep is 1, tokens below the threshold would rise or fall with V.

  Args:
    weight: >= 0; the paper takes 0.8 for TOFU and 0.5 for copyright.
    keep: in (0, 1]; 1 corrects all tokens.

  Example:
    >>> logits, sure = jnp.array([[3.0, 2.0, 0.0]]), jnp.array([[9.0, 0.0, 0.0]])
    >>> subtracted(1.0)(logits, jnp.zeros((1, 3))).tolist(), int(subtracted(1.0, keep=1.0)(logits, sure).argmax())
    ([[3.0, 2.0, 0.0]], 1)
  """
  check.positive("weight", weight, zero=True)
  check.fraction("keep", keep)
  return _Subtracted(float(weight), float(keep))
