"""Refresh learning: unlearn the batch, then learn it. Wang et al., ICLR 2024 (paper 45)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import curvature, objectives, updates
from unlearnjax.core import Method, ModelFn, Verbs, check, descend, fold, view_model
from unlearnjax.memory import reservoir
from unlearnjax.methods.continual.consolidate import no_anchor
from unlearnjax.methods.continual.der import dark_step
from unlearnjax.methods.continual.parts import learner, open_head


def refresh(
  *,
  rate: float = 1e-5,
  noise: float = 1e-3,
  fisher: float = 1e-3,
  decay: float = 1e-5,
  alpha: float = 0.2,
  beta: float = 1.0,
  capacity: int = 500,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 10,
  every: int | None = None,
) -> Method:
  """DER++ that makes each new batch a little less known before it learns it.

  Before every step theta <- theta + rate (U + noise xi) / (1 + fisher F), U the gradient of CE(batch) at the length of
  each leaf, xi ~ N(0, I); then the step of DER++ on the same batch. At the end of a task F <- decay F + the new task's
  Fisher information (that of the true labels, each weighted by its probability). The paper puts this before the step of
  any continual learner: `sequence(descend(..., updates.refresh(), name="refresh"), step)` is that for any step.

  Args:
    rate: delta >= 0; 0 is DER++. A step moves each leaf by about `rate` times its length.
    noise: >= 0.
    fisher: >= 0, weight of F.
    decay: tau in [0, 1].
    alpha: weight of the remembered logits, >= 0.
    beta: weight of the remembered labels, >= 0.
    capacity: examples that are kept.
    tx: optimizer, SGD 0.03 by default.
    epochs: passes over each task.
    batch_size: new examples of a step, and remembered ones.
    every: logs the accuracy on `refs["watch"]` every so many steps; see `core.watch`.

  Raises:
    ValueError: arguments out of range, a capacity below the batch size.

  Example:
    >>> refresh(rate=1e-4).name
    'refresh'
  """
  check.fraction("decay", decay, zero=True)
  check.positive("alpha", alpha, zero=True)
  check.positive("beta", beta, zero=True)
  if capacity < batch_size:
    raise ValueError(f"capacity must be at least batch_size={batch_size}, got {capacity}")
  ascent = updates.refresh(rate, noise=noise, fisher=fisher)
  tx = optax.sgd(0.03) if tx is None else tx

  def bind(fn: ModelFn) -> Verbs:
    memory, head = reservoir(capacity), open_head(fn)
    calm = objectives.cross_entropy(head, train=False)  # the ascent leaves batch statistics alone
    unlearn = descend({"current": calm}, ascent, name="refresh")
    step = dark_step(fn, memory, tx, alpha, beta, batch_size, before=unlearn)
    statistic = curvature.fisher_diag(calm, kind="true_label")

    def after(state, refs, task, run):
      model = view_model(head, state, refs)
      found = run.once("importance", lambda: fold(statistic, model, task.train, run, name="fisher"))
      importance = jax.tree.map(lambda old, new: decay * old + new, refs["importance"], found)
      return state, {**refs, "importance": importance}

    first = lambda model, key: {"importance": no_anchor(model, key)["importance"]}
    logits = lambda classes: {"logits": jnp.zeros((1, classes))}
    settings = dict(epochs=epochs, batch_size=batch_size, every=every, memories={"memory": memory}, columns=logits)
    return learner(fn, step, refs=first, after=after, **settings)

  return Method("refresh", bind)
