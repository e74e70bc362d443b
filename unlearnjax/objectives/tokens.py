"""How objectives on language read a role batch.

A role batch of language holds

* `inputs["tokens"]`, int32[B, T]: prompt and answer (and whatever else the model reads: positions, segment ids);
* `mask`, bool[B, T]: which tokens are scored, that is the answer with its end token. Position t predicts token t + 1;
  `mask[b, t]` speaks of token t as something predicted, so `mask[:, 0]` never counts;
* optionally further answers to the same prompts, by name: `alt_tokens`, `alt_mask` (refusals, alternatives, answers of
  other questions). Every objective reads them with `answers="alt"`;
* optionally `ref_logp`, f[B] (`alt_ref_logp`): log p(answer | prompt) of the reference, see `with_reference`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax import losses
from unlearnjax.core.source import Examples
from unlearnjax.core.types import INPUT_KEYS, Array, Aux, ModelFn, Outputs, Params, RoleBatch, View
from unlearnjax.losses import Aligned
from unlearnjax.objectives.bind import column, forward, frozen


def answer_batch(batch: RoleBatch, answers: str = "") -> RoleBatch:
  """The role batch that holds another answer: its columns `<answers>_*` in the places of the plain ones.

  Args:
    batch: a role batch of language.
    answers: prefix of the columns, e.g. "alt"; "" for the batch itself.

  Raises:
    ValueError: no `<answers>_tokens`.

  Example:
    >>> batch = {"inputs": {"tokens": 1}, "mask": 2, "alt_tokens": 3, "alt_mask": 4, "valid": 5}
    >>> sorted(answer_batch(batch, "alt").items())
    [('inputs', {'tokens': 3}), ('mask', 4), ('valid', 5)]
  """
  if not answers:
    return batch
  prefix = f"{answers}_"
  column(batch, f"{prefix}tokens")
  own = {k.removeprefix(prefix): v for k, v in batch.items() if k.startswith(prefix)}
  inputs = {k: own.pop(k) for k in INPUT_KEYS if k in own}
  rest = {k: batch[k] for k in ("id", "valid") if k in batch}
  return {**rest, **own, "inputs": inputs}


def scored(logits: Array, batch: RoleBatch) -> Aligned:
  """A model's logits f[B, T, V] aligned with the tokens they predict; rows that are not valid are not scored.

  Raises:
    ValueError: no column `mask`: without it prompts and padding would count.

  Example:
    >>> batch = {"inputs": {"tokens": jnp.array([[4, 2]])}, "mask": jnp.array([[False, True]])}
    >>> scored(jnp.zeros((1, 2, 5)), batch).targets.tolist()
    [[2]]
  """
  aligned = losses.next_tokens(logits, column(batch["inputs"], "tokens"), column(batch, "mask"))
  valid = batch.get("valid")
  return aligned if valid is None else aligned._replace(mask=aligned.mask & jnp.asarray(valid, bool)[:, None])


def answer(
  fn: ModelFn, params: Params, batch: RoleBatch, view: View, *, train: bool, capture: tuple[str, ...] = ()
) -> tuple[Aligned, Outputs]:
  """The model on a role batch of language: (aligned predictions, all outputs)."""
  out = forward(fn, params, batch, view, train=train, capture=capture)
  return scored(out.logits, batch), out


def need_answers(source: Any, answers: str = "", *, role: str = "source") -> None:
  """Raises a ValueError where a row of `Examples` has no scored token: it would count as known by heart.

  Args:
    source: of language; other sources than `Examples`, and tables without a mask, are not looked at.
    answers: which answers, see above.
    role: what the source is called in the message.

  Example:
    >>> from unlearnjax.core import Examples
    >>> need_answers(Examples({"tokens": np.array([[5, 6]]), "mask": np.array([[True, False]])}))
    Traceback (most recent call last):
      ...
    ValueError: source must have a scored token in every row, but 'mask' marks none after the first in 1 of 1, row 0
  """
  name = f"{answers}_mask" if answers else "mask"
  mask = source.columns.get(name) if isinstance(source, Examples) else None
  if mask is None or not len(source):
    return
  empty = np.flatnonzero(~np.asarray(source.column(name))[:, 1:].any(1))
  if len(empty):
    raise ValueError(
      f"{role} must have a scored token in every row, but {name!r} marks none after the first in {len(empty)} of "
      f"{len(source)}, row {empty[0]}"
    )


def token_mean(values: Array, mask: Array) -> tuple[Array, Aux]:
  """Mean over scored tokens, with their number as the weight: exact under microbatching.

  Args:
    values: f[B, T].
    mask: bool[B, T].

  Example:
    >>> value, aux = token_mean(jnp.array([[1.0, 3.0, 9.0]]), jnp.array([[True, True, False]]))
    >>> float(value), float(aux["weight"])
    (2.0, 2.0)
  """
  return losses.reduce_token_mean(values, mask), {"weight": jnp.sum(mask).astype(jnp.float32)}


def row_logp(aligned: Aligned) -> Array:
  """log p(answer | prompt) of every row, f[B]; 0 for rows without scored tokens.

  Example:
    >>> aligned = Aligned(jnp.zeros((1, 2, 4)), jnp.array([[1, 2]]), jnp.array([[True, True]]))
    >>> round(float(row_logp(aligned)[0]), 4)
    -2.7726
  """
  return -losses.reduce_seq_sum(losses.token_nll(*aligned), aligned.mask)


def reference_logp(fn: ModelFn, batch: RoleBatch, view: View, reference: str, cached: str = "ref_logp") -> Array:
  """log p_ref(answer | prompt), f[B]: the cached column where there is one, else a second forward pass.

  Args:
    fn: the model.
    batch: a role batch of language.
    view: its refs hold the reference.
    reference: `refs[reference] = {"params", "state"}`.
    cached: the column.

  Raises:
    ValueError: neither the column nor the reference.
  """
  if cached in batch:
    return jax.lax.stop_gradient(batch[cached])
  if reference not in view.refs:
    raise ValueError(
      f"the role batch has no column {cached!r} (see objectives.with_reference) and refs no {reference!r}; found "
      f"{sorted(batch)} and {sorted(view.refs)}"
    )
  return row_logp(scored(frozen(fn, batch, view, reference).logits, batch))
