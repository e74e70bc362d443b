"""Knowledge unlearning: gradient ascent that stops where texts are no more extractable than unseen ones."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import metrics, objectives
from unlearnjax.core import (
  ForgetRequest,
  History,
  Method,
  Model,
  ModelFn,
  Run,
  Transform,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  plain_init,
  plain_model,
  sequence,
  view_model,
  zip_roles,
)
from unlearnjax.methods.parts import restart
from unlearnjax.metrics.extraction import extraction_of, generations
from unlearnjax.objectives.bind import eval_view
from unlearnjax.objectives.tokens import answer

_log = logging.getLogger("unlearnjax")


class Thresholds(NamedTuple):
  """Where a text counts as forgotten.

  Attributes:
    extraction: mean EL_n of texts that were never trained on.
    memorization: their mean MA.
  """

  extraction: float
  memorization: float


def knowledge_unlearning(
  *,
  n: int = 10,
  thresholds: Thresholds | tuple[float, float] | None = None,
  unseen: str = "unseen",
  sequential: bool = False,
  tx: optax.GradientTransformation | None = None,
  min_epochs: int = 1,
  max_epochs: int = 20,
  batch_size: int = 32,
  microbatch: int | None = None,
  prefixes: int = 16,
) -> Method:
  """Ascends the nll of texts, all in one batch, until their EL_n and MA are down to those of texts never trained on.

  Looks after every epoch, which is one step: EL_n is the mean n-gram overlap of greedy continuations of all prefixes
  with the true rest (`metrics.extraction_likelihood`), MA the accuracy of the next token. Jang et al. 2023,
  arXiv:2210.01504 (paper 25).

  Args:
    n: length of the n-grams; shorter than the texts.
    thresholds: (EL_n, MA); by default the original model's means on `request.extra[unseen]`. The paper's for GPT-Neo
      125M on the Pile are (0.0499, 0.2994).
    unseen: name of the texts that were never trained on.
    sequential: texts are forgotten in chunks of `batch_size`, one after another, each until it is forgotten. The last
      chunk may be smaller.
    tx: optimizer, new for each chunk; Adam 5e-5 with betas (0.9, 0.98) by default.
    min_epochs: epochs that are made in any case, >= 1.
    max_epochs: where a chunk is given up, with a warning.
    batch_size: texts that are forgotten together, at most; fixed, so that requests share one program.
    microbatch: parts that the batch is split into, which add up exactly.
    prefixes: generations at once, see `metrics.extraction_likelihoods`.

  Raises:
    ValueError: more texts than one batch holds, where it is not sequential; neither thresholds nor unseen texts.

  Example:
    >>> knowledge_unlearning(sequential=True, batch_size=8).name
    'knowledge_unlearning'
  """
  check.positive("n", n)
  check.positive("min_epochs", min_epochs)
  check.positive("batch_size", batch_size)
  if max_epochs < min_epochs:
    raise ValueError(f"max_epochs must be >= min_epochs = {min_epochs}, got {max_epochs}")
  tx = optax.adam(5e-5, b1=0.9, b2=0.98) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    step = _step(fn, tx, microbatch, n, prefixes)

    def forget(state, refs, request: ForgetRequest, run: Run):
      source = as_examples(request.forget)
      if len(source) > batch_size and not sequential:
        raise ValueError(
          f"knowledge_unlearning forgets all texts in one batch: {len(source)} are more than batch_size={batch_size}; "
          "raise it, with microbatch=, or set sequential=True"
        )
      goal = _goal(thresholds, view_model(fn, state, refs), request, unseen, n, prefixes, run)
      for chunk, start in enumerate(range(0, len(source), batch_size)):
        part = source[start : start + batch_size]
        plan = zip_roles(batch_size=batch_size, epochs=max_epochs, forget=part)
        name = f"chunk{chunk}"
        state, history = fit(
          step, restart(state, step), plan, refs, run, name=name, until=not_extractable(goal, after=min_epochs)
        )
        looked = len(history["forget/memorization"]) * len(part)
        run.cost.forward_evaluations += looked * (1 + generations(part.columns["tokens"].shape[1], prefixes))
        if not not_extractable(goal)(history):
          last = [float(history[f"forget/{k}"][-1]) for k in Thresholds._fields]
          _log.warning("%s is not forgotten after %d epochs: (EL, MA) %s, thresholds %s", name, plan.steps, last, goal)
      return state, refs

    return Verbs(plain_init(step), plain_model(fn), forget=forget)

  return Method("knowledge_unlearning", bind)


@functools.lru_cache(maxsize=16)
def _step(fn: ModelFn, tx: optax.GradientTransformation, microbatch: int | None, n: int, prefixes: int) -> Transform:
  """One value for all thresholds and numbers of epochs, so that they share a compilation."""
  ascend = descend({"forget": objectives.negated(objectives.nll(fn))}, tx, microbatch=microbatch, state_from="forget")
  return sequence(ascend, watch_extraction(fn, n, prefixes=prefixes))


def _goal(thresholds, model: Model, request: ForgetRequest, unseen: str, n: int, prefixes: int, run: Run) -> Thresholds:
  if thresholds is not None:
    return Thresholds(*thresholds)
  if unseen not in request.extra or not len(request.extra[unseen]):
    raise ValueError(
      f"knowledge_unlearning needs thresholds, or texts that were never trained on in request.extra[{unseen!r}]; the "
      f"request has {sorted(request.extra)}"
    )

  def measure():
    said = metrics.answer_scores(model, request.extra[unseen], run)
    found = metrics.extraction_likelihoods(model, request.extra[unseen], run, n=n, prefixes=prefixes)
    if np.isnan(found).all():
      raise ValueError(f"no text of request.extra[{unseen!r}] has n={n} scored tokens: choose a smaller n")
    learnt = np.mean(metrics.exact_memorization(said.correct, said.mask))
    return {"extraction": np.nanmean(found), "memorization": learnt}

  return Thresholds(**{k: float(v) for k, v in run.once("thresholds", measure).items()})


def watch_extraction(fn: ModelFn, n: int, *, role: str = "forget", prefixes: int = 16) -> Transform:
  """A link of `sequence` that logs how extractable the texts of a role are, after the links before it.

  It changes nothing and draws nothing.

  Args:
    fn: the model that is watched, in eval mode.
    n: length of the n-grams.
    role: whose batch is scored.
    prefixes: generations at once.

  Returns:
    a Transform that reports `<role>/extraction` (mean EL_n over rows of at least n scored tokens) and
    `<role>/memorization` (mean MA).
  """

  def update(state, batch, refs):
    model, part = Model(state.params, state.model_state, dict(refs), fn), batch[role]
    found = extraction_of(model, part, n, prefixes)
    counted = part["valid"] & jnp.isfinite(found)
    aligned = answer(fn, model.params, part, eval_view(model, jax.random.key(0)), train=False)[0]
    right = (jnp.argmax(aligned.logits, axis=-1) == aligned.targets) & aligned.mask
    learnt = metrics.exact_memorization(right, aligned.mask)
    info = {
      f"{role}/extraction": jnp.sum(jnp.where(counted, found, 0)) / jnp.maximum(counted.sum(), 1),
      f"{role}/memorization": objectives.mean(learnt, part)[0],
    }
    return state.replace(step=state.step + 1), {**info, "ok": jnp.array(True)}

  return Transform(lambda state: state, update)


def not_extractable(goal: Thresholds, *, role: str = "forget", after: int = 1) -> Callable[[History], bool]:
  """A condition for `fit(until=...)`: both scores of `watch_extraction` are down to the thresholds.

  Args:
    goal: see `Thresholds`.
    role: as of `watch_extraction`.
    after: steps that are made in any case.

  Example:
    >>> until = not_extractable(Thresholds(0.1, 0.3))
    >>> until(History({"forget/extraction": [0.5], "forget/memorization": [0.2]}))
    False
    >>> until(History({"forget/extraction": [0.5, 0.1], "forget/memorization": [0.2, 0.3]}))
    True
  """

  def until(history: History) -> bool:
    now = [history[f"{role}/{score}"] for score in Thresholds._fields]
    return len(now[0]) >= after and all(x[-1] <= limit for x, limit in zip(now, goal))

  return until
