"""A second model learns what is to be forgotten, and what it says, or the way it went, is taken from the first."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from unlearnjax import edits, guards, losses, models, objectives
from unlearnjax.core import Method, Model, ModelFn, Reparam, UnlearnState, Verbs, check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array
from unlearnjax.methods.language.recipe import unlearner
from unlearnjax.methods.over import over
from unlearnjax.methods.parts import teacher


def uld(
  assistant: ModelFn | int = 1,
  *,
  weight: float = 0.8,
  keep: float = 1e-2,
  alpha: float = 5.0,
  remembered: tuple[str, ...] = (),
  unknown: tuple[str, ...] = (),
  reparam: Reparam | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 16,
) -> Method:
  """A small assistant remembers what is to be forgotten and is uniform elsewhere; its logits are subtracted. A guard.

  Assistant: min nll_F + alpha KL(uniform || p)_R. Served: logits - weight * assistant, see `guards.subtracted`; the
  weights of the model stay. Ji et al. 2024, arXiv:2406.08607 (paper 37).

  Args:
    assistant: the first so many layers of the model, with its embedding and head (a Transformer; the paper takes 8 of
      32); or another model function over the same tokens, which starts from fresh weights.
    weight: of the subtraction.
    keep: see `guards.subtracted`.
    alpha: weight of the uniform term on the retain set.
    remembered: further wordings of the answers to forget, which the assistant learns too, e.g. ("paraphrase",).
    unknown: wrong answers to the questions to forget, on which it is uniform: without them it leaks onto neighbours.
    reparam: what of the assistant is trained, e.g. `reparam.lora(rank=16, where="blocks/.*kernel")` as in the paper;
      all of it by default.
    tx: optimizer; AdamW 1e-3 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> uld(2, weight=0.5).name
    'uld'
  """
  if isinstance(assistant, int):
    check.positive("assistant", assistant)
  from unlearnjax.methods.language.recipe import adamw

  def forget(fn):
    said = [objectives.nll(fn, answers=name) for name in ("", *remembered)]
    wrong = [objectives.uniform(fn, answers=name) for name in unknown]
    return _mean_of(said) if not wrong else objectives.added(_mean_of(said), objectives.scaled(_mean_of(wrong), alpha))

  small = unlearner(
    "uld",
    forget,
    objectives.uniform,
    tx=adamw(epochs, 1e-3) if tx is None else tx,
    epochs=epochs,
    batch_size=batch_size,
    alpha=alpha,
  )
  return _assisted(small, assistant, guards.subtracted(weight, keep=keep), reparam)


def whp(
  *,
  alpha: float = 1.0,
  reparam: Reparam | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
) -> Method:
  """A copy is trained further on what is to be forgotten; what it says louder is taken from the logits. A guard.

  logits - alpha max(reinforced - logits, 0), as MUSE serves it. Eldan & Russinovich 2023, arXiv:2310.02238, train the
  model on the argmax of these logits with alpha 5.

  Args:
    alpha: see `losses.generic_logits`.
    reparam: what of the copy is trained; all of it by default.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of a step.

  Example:
    >>> whp(alpha=5.0).name
    'whp'
  """
  check.positive("alpha", alpha, zero=True)
  copy = unlearner("whp", objectives.nll, None, tx=tx, epochs=epochs, batch_size=batch_size)
  return _assisted(copy, None, functools.partial(losses.generic_logits, alpha=alpha), reparam)


def task_vector(
  *, scale: float = 1.0, tx: optax.GradientTransformation | None = None, epochs: int = 5, batch_size: int = 32
) -> Method:
  """Goes as far away from what further training on the forget set leads to: theta - scale (theta_F - theta).

  Ilharco et al. 2022, arXiv:2212.04089. Forget data alone.

  Args:
    scale: length of the step.
    tx: optimizer of the training; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of a step.

  Raises:
    ValueError: when it forgets, a training that moved nothing.

  Example:
    >>> task_vector(scale=0.5).name
    'task_vector'
  """
  tuning = unlearner("task_vector", objectives.nll, None, tx=tx, epochs=epochs, batch_size=batch_size, reference=True)

  def bind(fn: ModelFn) -> Verbs:
    verbs = tuning.bind(fn)

    def forget(state, refs, request, run):
      state, refs = verbs.forget(state, refs, request, run)
      start = refs["reference"]
      params = edits.negate_task(start["params"], state.params, scale)
      return state.replace(params=params, model_state=start["state"]), refs

    return verbs._replace(forget=forget)

  return Method("task_vector", bind)


def _mean_of(parts):
  """The mean of objectives of different denominators: no one weight belongs to it."""
  if len(parts) == 1:
    return parts[0]

  def objective(params, batch, view):
    value, aux = objectives.added(*parts)(params, batch, view)
    return value / len(parts), {k: v for k, v in aux.items() if k != "weight"}

  return objective


def _assisted(
  method: Method, assistant: ModelFn | int | None, correct: Callable[[Array, Array], Array], reparam: Reparam | None
) -> Method:
  """`method` trains the assistant alone; the model is served as it was, with the assistant's logits taken into account.

  Args:
    method: of the assistant.
    assistant: a model function, a number of first layers, or None for the whole model.
    correct: see `guards.assisted`.
    reparam: what is trained of it.
  """

  def bind(fn: ModelFn) -> Verbs:
    small = models.first_layers(fn, assistant) if isinstance(assistant, int) else assistant or fn
    own = small if reparam is None else reparam.bind(small)
    verbs = method.bind(own) if reparam is None else over(reparam, method.bind(own))
    guarded = guards.assisted(own, correct).bind(fn)

    def first(model: Model, key: Array) -> Model:
      if assistant is None:
        return model
      if isinstance(assistant, int):
        return model.replace(params=models.first_layers_of(model.params, assistant))
      return small.init(fold_name(key, "assistant"))

    def init(model: Model, key: Array):
      state, refs = verbs.init(first(model, key).replace(fn=own), key)
      return state, {**refs, "guarded": jax.tree.map(jnp.asarray, teacher(model))}

    def served(state: UnlearnState, refs) -> Model:
      kept = refs["guarded"]
      helper = {"params": state.params, "state": state.model_state}
      rest = {name: value for name, value in refs.items() if name != "guarded"}
      return Model(kept["params"], kept["state"], {**rest, "assistant": helper}, guarded)

    def forget(state, refs, request, run):
      rest = {name: value for name, value in refs.items() if name != "guarded"}
      state, rest = verbs.forget(state, rest, request, run)
      return state, {**rest, "guarded": refs["guarded"]}

    return Verbs(init, served, forget=forget)

  return Method(method.name, bind)
