"""NTK scrubbing: what a linearised network would be without F. Golatkar et al., ECCV 2020 (baseline B7)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import curvature, edits
from unlearnjax.core import (
  Examples,
  Method,
  ModelFn,
  Verbs,
  as_examples,
  check,
  need_retain,
  plain_init,
  plain_model,
  role_batch,
)
from unlearnjax.core.types import Array, ArrayTree

LOSSES = ("cross_entropy", "squared_error")


def ntk_scrubbing(
  *,
  weight_decay: float = 5e-4,
  max_examples: int = 256,
  loss: str = "cross_entropy",
  origin: ArrayTree | None = None,
  scale: float | None = None,
) -> Method:
  """theta <- theta + s (w(R) - w(D)), w(S) = -G_S (G_S^T G_S + |S| weight_decay I)^-1 e_S. arXiv:2003.02960.

  No training. G are the gradients of every logit of every example where the network is linearised, e what it is off by
  there: its probabilities (or outputs) minus the one-hot labels (or targets). The system has (n C)^2 entries, and G is
  n C times as large as the weights: this is for tiny data. Sets of more than `max_examples` are subsampled at random, F
  up to half of the room and R in the rest; only the sampled part of F is then removed.

  For a model that is linear in its weights, trained from `origin` with squared error and weight decay towards it, the
  result is that of retraining, exactly.

  Args:
    weight_decay: > 0, that of the training.
    max_examples: n at most, >= 2.
    loss: "cross_entropy" or "squared_error"; the latter reads integer labels as one-hot targets.
    origin: parameters that the training started from, where the network is linearised; None linearises at the trained
      weights, as published code does.
    scale: s; None predicts it from the error of the linearisation where `origin` is known, and is 1 elsewhere.

  Raises:
    ValueError: numbers out of range, an unknown loss, or a request without a retain set.

  Example:
    >>> ntk_scrubbing(max_examples=100).name
    'ntk_scrubbing'
  """
  check.positive("weight_decay", weight_decay)
  check.one_of("loss", loss, LOSSES)
  if max_examples < 2:
    raise ValueError(f"max_examples must be >= 2, got {max_examples}")

  def bind(fn: ModelFn) -> Verbs:
    @jax.jit
    def scrub(params, start, state, batch, forget):
      jacobian = curvature.logit_jacobian(fn, start, batch["inputs"], state=state)
      logits = fn(start, batch["inputs"], state=state, train=False).logits
      residual = _residual(logits, batch["y"], loss)
      gram = curvature.ntk_gram(jacobian)  # nearly all of the work, once for both sets
      displacement = lambda keep: curvature.ridge_displacement(jacobian, residual, weight_decay, keep, gram=gram)
      with_all = displacement(batch["valid"])
      step = jax.tree.map(jnp.subtract, displacement(batch["valid"] & ~forget), with_all)
      factor = scale
      if scale is None:
        factor = 1.0 if origin is None else edits.trapezium_scale(step, _error(params, start, with_all))
      return jax.tree.map(lambda p, s: p + (factor * s).astype(p.dtype), params, step)

    def forget(state, refs, request, run):
      retain = as_examples(need_retain("ntk_scrubbing", request))
      key = jax.random.fold_in(jax.random.fold_in(state.rng, 1), state.step)
      batch, gone = sampled(as_examples(request.forget), retain, max_examples, key)
      start = refs.get("origin", state.params)

      def scrubbed():
        run.cost.gradient_evaluations += int(batch["valid"].sum())
        return scrub(state.params, start, state.model_state, batch, gone)

      return state.replace(params=run.once("scrubbed", scrubbed), step=state.step + 1), refs

    given = lambda model, key: {} if origin is None else {"origin": origin}
    return Verbs(plain_init(refs=given), plain_model(fn), forget=forget)

  return Method("ntk_scrubbing", bind)


def sampled(forget: Examples, retain: Examples, size: int, key: Array):
  """(role batch of at most `size` rows, bool: which of them are to be forgotten), padded to a size that is shared."""
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
  total = min(len(forget) + len(retain), size)
  n_forget = min(len(forget), max(total // 2, total - len(retain)))
  pick = lambda source, count: source[np.sort(rng.permutation(len(source))[:count])]
  both = pick(retain, total - n_forget) + pick(forget, n_forget)
  room = min(size, 1 << (total - 1).bit_length())
  place = np.arange(room)
  batch = role_batch(both, np.where(place < total, place, 0))
  is_forgotten = (place >= total - n_forget) & (place < total)
  return {**batch, "valid": jnp.asarray(place < total)}, jnp.asarray(is_forgotten)


def _residual(logits: Array, targets: Array, loss: str) -> Array:
  wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  if jnp.issubdtype(targets.dtype, jnp.integer):
    targets = jax.nn.one_hot(targets, wide.shape[-1], dtype=wide.dtype)
  outputs = jax.nn.softmax(wide, axis=-1) if loss == "cross_entropy" else wide
  return outputs - targets.reshape(outputs.shape)


def _error(params, start, predicted):
  return jax.tree.map(lambda p, a, w: p - a - w, params, start, predicted)
