"""Certified removal: a Newton step whose error hides behind the noise of the training. Guo et al., ICML 2020."""

from __future__ import annotations

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unlearnjax import curvature, objectives
from unlearnjax.core import (
  Guarantee,
  Method,
  Model,
  ModelFn,
  UnlearnState,
  Verbs,
  check,
  descend,
  fit,
  fold,
  need_retain,
  plain_model,
  role_batch,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY
from unlearnjax.methods.exact import head as heads
from unlearnjax.metrics.privacy import noise_multiplier

LOSSES = {"logistic": (heads.logistic, 0.25), "squared": (heads.squares, 0.0)}
"""Loss of the head, and how fast its second derivative changes (gamma)."""


def certified_removal(
  *,
  epsilon: float = 1.0,
  delta: float = 1e-4,
  sigma: float = 1.0,
  l2: float = 1e-3,
  loss: str = "logistic",
  radius: float | None = 1.0,
  bound: str = "paper",
  accountant: str = "classical",
  iterations: int = 100,
  solver_iterations: int = 200,
  tolerance: float = 1e-6,
  site: str = "head:in",
) -> Method:
  """Trains the last layer with a random linear term; Newton steps then remove examples until a budget is spent.

  `learn` minimises sum_D [l(w; x, y) + (l2 / 2) |w|^2] + b^T w, b ~ N(0, sigma^2 I). `forget` takes the step w <- w +
  H_R^-1 [sum_F grad l + |F| l2 w], H_R the Hessian over R, and adds the bound of the gradient that this leaves, gamma
  |X| |v| |X v| (`curvature.newton_residual`), to `state.slots["spent"]`. While that is at most sigma /
  `metrics.noise_multiplier(epsilon, delta)`, w is (epsilon, delta)-indistinguishable from what training on R gives;
  beyond it the layer is trained again on R with a new b. Squared error leaves nothing: the step is retraining.
  arXiv:1911.03030.

  Only the last layer is trained, and the certificate is about it alone: it is the model's if the other layers never saw
  the data that is removed (a public feature extractor, or a model that is linear). The norms of the gradient that
  training left and of the solver's error are added to the account too. `uj.learn` comes first, and `uj.forget(start=)`
  goes on from its result; the retain set must be what was learned less all that was ever forgotten.

  Args:
    epsilon, delta: of the certificate, > 0 and in (0, 1).
    sigma: standard deviation of b, > 0, in units of a gradient summed over examples. More buys more removals, and costs
      accuracy.
    l2: > 0, per example.
    loss: "logistic", one regression a class, or "squared", on numbers or one-hot labels.
    radius: features longer than this are cut to it, also by the model that is served: the bound grows with the square
      of their norm. None leaves them.
    bound: of the gradient that is left, see `curvature.newton_residual`; "rows" is smaller and lasts longer.
    accountant: see `metrics.noise_multiplier`; "exact" needs the extra `privacy`.
    iterations: of L-BFGS on all data, in training.
    solver_iterations, tolerance: of conjugate gradients, in the step.
    site: the features: the input of the layer, f[B, d].

  Raises:
    ValueError: numbers out of range, a site that no linear layer reads, `forget` before `learn`, a second `learn`, or a
      request without a retain set.

  Example:
    >>> certified_removal(epsilon=0.5, sigma=5.0).name
    'certified_removal'
  """
  check.one_of("loss", loss, LOSSES)
  for name, value in (("sigma", sigma), ("l2", l2), ("iterations", iterations), ("tolerance", tolerance)):
    check.positive(name, value)
  check.positive("solver_iterations", solver_iterations)
  check.one_of("bound", bound, curvature.residual.BOUNDS)
  if radius is not None:
    check.positive("radius", radius)
  budget = sigma / noise_multiplier(epsilon, delta, accountant)
  rows_loss, gamma = LOSSES[loss]

  def bind(fn: ModelFn) -> Verbs:
    served = fn if radius is None else heads.ClippedFn(fn, site, radius)
    data_loss = objectives.supervised(heads.linear, rows_loss, train=False)
    step = descend({"train": objectives.perturbed(data_loss, l2=l2)}, optax.lbfgs())
    total = curvature.gradient(data_loss, reduce="sum")

    def init(model, key):
      head = heads.head_of(model.params, site)
      zero = jnp.zeros((), head["kernel"].dtype)
      slots = {"perturbation": jax.tree.map(jnp.zeros_like, head), "spent": zero, "fits": jnp.zeros((), jnp.int32)}
      return UnlearnState.create(model.params, rng=key, model_state=model.state, slots=slots), EMPTY

    def train(state, source, run):
      head = heads.head_of(state.params, site)
      key = fold_name(jax.random.fold_in(state.rng, state.slots["fits"]), "perturbation")
      keys = dict(zip(head, jax.random.split(key, len(head))))
      noise = {name: sigma * jax.random.normal(keys[name], x.shape, x.dtype) for name, x in head.items()}
      inner = UnlearnState.create(jax.tree.map(jnp.zeros_like, head), rng=key)
      plan = zip_roles(train=source, batch_size=heads.full_batch(source), epochs=iterations)
      inner, _ = fit(step, step.init(inner), plan, {"perturbation": noise}, run)
      slope = fold(total, Model(inner.params, fn=heads.linear), source, run, name="left")
      left = jax.tree.map(lambda g, w, b: g + len(source) * l2 * w + b, slope, inner.params, noise)
      spent = optax.tree.norm(left)
      if float(spent) > budget:
        logging.getLogger("unlearnjax").warning(
          "certified_removal: training left a gradient of norm %.3g, above the budget %.3g: every removal will train "
          "again; give more iterations or sigma",
          float(spent),
          budget,
        )
      slots = {"perturbation": noise, "spent": spent, "fits": state.slots["fits"] + 1}
      return heads.with_head(state, site, inner.params).replace(slots=slots)

    @jax.jit
    def newton(head, slope, batch):
      """(step, bound of the gradient it leaves) over the rows of one padded batch."""
      model, count = Model(head, fn=heads.linear), jnp.sum(batch["valid"])
      view = objectives.eval_view(model, jax.random.key(0))
      product = lambda v: curvature.ggn_vp(heads.linear, rows_loss, head, batch, v, view)
      solve = dict(damping=l2, iterations=solver_iterations, tolerance=tolerance)
      move, _ = curvature.cg(product, jax.tree.map(lambda g: g / count, slope), **solve)
      error = jax.tree.map(lambda a, v, g: count * (a + l2 * v) - g, product(move), move, slope)
      x = jnp.where(batch["valid"][:, None], heads.with_ones(batch["inputs"]["x"], head), 0)
      return move, curvature.newton_residual(x, heads.as_matrix(move), gamma, bound=bound) + optax.tree.norm(error)

    def remove(head, gone, kept, run):
      slope = fold(total, Model(head, fn=heads.linear), gone, run, name="gradient_forget")
      slope = jax.tree.map(lambda g, w: g + len(gone) * l2 * w, slope, head)
      place = np.arange(heads.full_batch(kept))
      batch = role_batch(kept, np.where(place < len(kept), place, 0))
      batch = {**batch, "valid": jnp.asarray(place < len(kept))}
      run.cost.gradient_evaluations += solver_iterations * len(kept)  # at most
      move, bound = newton(head, slope, batch)
      return {"step": move, "bound": bound}

    def learn(state, refs, task, run):
      if int(state.slots["fits"]):
        raise ValueError(f"certified_removal learns once, from all data; task {task.name!r} is its second")
      return train(state, heads.features(served, state, task.train, run, site), run), refs

    def forget(state, refs, request, run):
      if not int(state.slots["fits"]):
        raise ValueError("certified_removal must learn before it can forget: give uj.learn's result to start=")
      kept = need_retain("certified_removal", request)
      gone, kept = heads.split_features(served, state, request.forget, kept, run, site)
      head = heads.head_of(state.params, site)
      found = run.once("removal", lambda: remove(head, gone, kept, run))
      spent = state.slots["spent"] + found["bound"]
      if float(spent) > budget:
        return train(state, kept, run), refs
      state = heads.with_head(state, site, jax.tree.map(jnp.add, head, found["step"]))
      return state.replace(slots={**state.slots, "spent": spent}), refs

    return Verbs(init, plain_model(served), learn=learn, forget=forget)

  about = "of the last layer, against training it on the rest; of the model, if its other layers never saw the data"
  return Method("certified_removal", bind, Guarantee("certified", epsilon, delta, about))
