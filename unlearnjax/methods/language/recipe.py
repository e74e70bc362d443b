"""What the methods on language share: an objective on what is forgotten, one on what is retained, one `fit`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from unlearnjax import combine as combiners
from unlearnjax import objectives, updates
from unlearnjax.core import (
  Combiner,
  Examples,
  ForgetRequest,
  Method,
  Model,
  ModelFn,
  Run,
  Verbs,
  as_examples,
  check,
  descend,
  fit,
  need_retain,
  plain_init,
  plain_model,
  view_model,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, Objective, Refs
from unlearnjax.methods.parts import restart, teacher

Builder = Callable[[ModelFn], Objective]


def adamw(epochs: int, learning_rate: float = 1e-5, decay: float = 0.01) -> optax.GradientTransformationExtraArgs:
  """AdamW with a linear warm-up over the first epoch and a linear decay to 0: TOFU's schedule.

  Example:
    >>> from unlearnjax.core import View
    >>> tx = adamw(2, 1.0, 0.0)
    >>> half = View(0, None, {}, {}, (), progress=0.5)
    >>> updates, _ = tx.update({"w": jnp.ones(())}, tx.init({"w": jnp.ones(())}), {"w": jnp.ones(())}, view=half)
    >>> round(float(updates["w"]), 3)
    -1.0
  """
  rise = 1 / max(epochs, 2)
  schedule = lambda p: jnp.minimum(p / rise, (1 - p) / (1 - rise))
  return optax.chain(optax.adamw(learning_rate, weight_decay=decay), updates.by_progress(schedule))


def unlearner(
  name: str,
  forget: Builder,
  retain: Builder | str | None,
  *,
  tx: optax.GradientTransformation | None,
  epochs: int,
  batch_size: int | Mapping[str, int],
  gamma: float = 1.0,
  alpha: float = 1.0,
  combine: Combiner | None = None,
  reference: bool = False,
  cached: tuple[str, ...] = (),
  labels: Callable[..., Examples] | None = None,
  refs: Callable[[Model, Array], Refs] | None = None,
) -> Method:
  """min gamma L_forget + alpha L_retain over pairs of batches; an epoch is a pass over the forget set.

  Args:
    name: of the method.
    forget: builds the objective of the forget role.
    retain: builds that of the retain role; "nll", "kl" (to the reference) or None.
    tx: optimizer; `adamw(epochs)` by default.
    epochs: passes over the forget set.
    batch_size: rows of a step, for both roles or by role.
    gamma: weight of the forget role.
    alpha: weight of the retain role.
    combine: in the place of the two weights.
    reference: the objectives read `refs["reference"]`, the model at the start of the request.
    cached: answers ("" for the plain ones) whose likelihood under that model is computed once, as a column.
    labels: `(model, source, run, key=) -> source` with the column `labels`, such as
      `objectives.with_adversarial_tokens`; the model is that at the start of the request, the column is made once.
    refs: `(model, key) -> refs` of the method's own.
  """
  check.positive("epochs", epochs)
  tx = adamw(epochs) if tx is None else tx
  if isinstance(retain, str):
    check.one_of("retain", retain, ("nll", "kl"))
    reference, retain = reference or retain == "kl", {"nll": objectives.nll, "kl": objectives.kl_min}[retain]
  if combine is None:
    combine = combiners.weighted(forget=gamma, **({} if retain is None else {"retain": alpha}))

  def bind(fn: ModelFn) -> Verbs:
    roles = {"forget": forget(fn)} | ({} if retain is None else {"retain": retain(fn)})
    step = descend(roles, tx, combine=combine, state_from="forget")
    own = lambda model, key: {} if refs is None else dict(refs(model, key))
    frozen = lambda of: {"reference": teacher(of)} if reference else {}

    def start(model, key):
      return {**own(model, key), **frozen(model)}

    def honour(state, old, request: ForgetRequest, run: Run):
      before = view_model(fn, state, old)
      for answers in ("", *cached):
        objectives.need_answers(request.forget, answers, role="the forget set")
      sources: dict[str, Any] = {"forget": with_likelihoods(before, request.forget, run, cached)}
      if labels is not None:
        made = lambda: labels(before, request.forget, run, key=fold_name(state.rng, "labels")).column("labels")
        sources["forget"] = as_examples(sources["forget"]).replace(labels=run.once("labels", made))
      if retain is not None:
        sources["retain"] = need_retain(name, request)
        objectives.need_answers(sources["retain"], role="the retain set")
      now = {**old, **frozen(state)}
      plan = zip_roles(anchor="forget", batch_size=batch_size, epochs=epochs, **sources)
      return fit(step, restart(state, step), plan, now, run)[0], now

    return Verbs(plain_init(step, refs=start), plain_model(fn), forget=honour)

  return Method(name, bind)


def with_likelihoods(model: Model, source: Any, run: Run, answers: tuple[str, ...]) -> Any:
  """The source with the column `ref_logp` of each of the answers, computed once also across a crash."""
  for name in answers:
    column = f"{name}_ref_logp" if name else "ref_logp"
    scored = functools.partial(objectives.with_reference, model, source, run, answers=name)
    found = run.once(column, lambda scored=scored, column=column: scored().column(column))
    source = as_examples(source).replace(**{column: found})
  return source
