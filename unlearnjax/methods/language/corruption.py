"""ECO: prompts that are flagged are read through corrupted embeddings. Liu et al. 2024, arXiv:2406.07933 (paper 48)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import guards, metrics, objectives, updates
from unlearnjax.core import (
  ForgetRequest,
  Method,
  Model,
  ModelFn,
  Run,
  UnlearnState,
  Verbs,
  check,
  descend,
  fit,
  need_retain,
  zip_roles,
)
from unlearnjax.methods.parts import restart, teacher


def eco(
  gate: guards.BagOfWords,
  *,
  target: float | None = None,
  threshold: float = 0.99,
  kind: str = "noise",
  site: str = "embed",
  start: float = 1.0,
  least: float = 0.1,
  rate: float = 1.0,
  epsilon: float = 0.0999,
  searches: int = 30,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 30,
  batch_size: int = 16,
) -> Method:
  """Learns which prompts to flag, and how strongly to corrupt them. A guard: the weights of the model stay.

  The gate separates the prompts of the forget set from those of the retain set. The strength s goes down
  L(s) = |nll_F(corrupted) - target| by central differences,
  s <- max(least, s - rate (L(s + epsilon) - L(s - epsilon)) / (2 epsilon)), with a rate that falls to 0.

  Args:
    gate: classifier of prompts, whose prompt is what is corrupted; the paper fine-tunes a language model.
    target: nll of a token, in nats, that the forget set should have, > 0: that of a model without it. None: what the
      model says of `request.extra["validation"]`, questions of the kind that it never saw.
    threshold: see `guards.corrupted`; the paper takes 0.99 to 0.9999.
    kind: of corruption, see there.
    site: activation that is corrupted.
    start: first strength, >= least. At small ones nothing changes, and the search stands still; the paper takes 0.1.
    least: smallest strength, > 0.
    rate: first step of the search; it belongs to the scale of the embeddings.
    epsilon: half the distance of the two strengths that are compared.
    searches: passes over the forget set for the search.
    tx: optimizer of the gate; Adam 0.1 by default.
    epochs: passes over the retain set for the gate.
    batch_size: rows of each role.

  Raises:
    ValueError: when it forgets, neither a target nor questions to take it from, or no retain set.

  Example:
    >>> eco(guards.BagOfWords(100, guards.prompt_until(7)), target=3.0).name
    'eco'
  """
  check.positive("least", least)
  if start < least:
    raise ValueError(f"start must be at least least={least}, got {start}")
  if target is not None:
    check.positive("target", target)
  guard = guards.corrupted(gate, threshold=threshold, kind=kind, prompt=gate.prompt, site=site)
  above = optax.stateless(lambda u, p: jax.tree.map(lambda u, p: jnp.maximum(p + u, least) - p, u, p))
  line = (
    updates.spsa(epsilon=epsilon, distribution="rademacher"),
    optax.sgd(rate),
    updates.by_progress(lambda p: 1 - p),
  )

  def bind(fn: ModelFn) -> Verbs:
    guarded = guard.bind(fn)
    always = objectives.nll(dataclasses.replace(guarded, always=True), train=False)

    def flags(sign: float):
      def objective(params, batch, view):
        logits = gate(params["gate"], batch["inputs"]).logits[:, 0]
        return objectives.mean(jax.nn.softplus(-sign * logits), batch)

      return objective

    def distance(params, batch, view):
      own = {**params, "seed": view.refs["seed"]}
      value, _ = always(view.refs["guarded"]["params"], batch, view._replace(refs={"guard": own}))
      return jnp.abs(value - view.refs["target"]), {}

    roles = {"forget": flags(1.0), "retain": flags(-1.0)}
    sort = descend(roles, optax.adam(0.1) if tx is None else tx, over=("gate",), name="gate")
    search = descend({"forget": distance}, optax.chain(*line, above), over=("strength",), name="strength")

    def init(model: Model, key):
      own = guard.init(model, key)["guard"]
      params = {"gate": own["gate"], "strength": jnp.full((), start, jnp.float32)}
      state = search.init(sort.init(UnlearnState.create(params, rng=key, model_state=model.state)))
      kept = jax.tree.map(jnp.asarray, teacher(model))
      return state, {"guarded": kept, "seed": own["seed"], "target": jnp.zeros(())}

    def served(state: UnlearnState, refs) -> Model:
      own = {**state.params, "seed": refs["seed"]}
      return Model(refs["guarded"]["params"], refs["guarded"]["state"], {"guard": own}, guarded)

    def forget(state, refs, request: ForgetRequest, run: Run):
      retain, original = need_retain("eco", request), refs["guarded"]
      model = Model(original["params"], original["state"], {}, fn)
      goal = target if target is not None else run.once("target", lambda: _validation_nll(model, request, run))
      refs = {**refs, "target": jnp.asarray(goal, jnp.float32)}
      plan = zip_roles(anchor="retain", batch_size=batch_size, epochs=epochs, forget=request.forget, retain=retain)
      state, _ = fit(sort, restart(state, sort, search), plan, refs, run, name="gate")
      plan = zip_roles(anchor="forget", batch_size=batch_size, epochs=searches, forget=request.forget)
      return fit(search, state, plan, refs, run, name="strength")[0], refs

    return Verbs(init, served, forget=forget)

  return Method("eco", bind)


def _validation_nll(model: Model, request: ForgetRequest, run: Run) -> np.ndarray:
  """nll of a token of the answers that the model never saw."""
  source = request.extra.get("validation")
  if source is None or not len(source):
    raise ValueError("eco needs target=, or request.extra['validation']: questions that the model was never trained on")
  said = metrics.answer_scores(model, source, run)
  return np.float32(-said.logp.sum() / said.mask.sum())
