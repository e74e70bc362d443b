"""Noisy gradient descent that learns and deletes. Chourasia & Shah, ICML 2023, arXiv:2210.08911 (paper 11)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from unlearnjax import losses, objectives, updates
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
  need_retain,
  zip_roles,
)
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY
from unlearnjax.methods.exact import head as heads
from unlearnjax.methods.parts import restart
from unlearnjax.metrics.privacy import noisy_gd_rdp

DELTA = 1e-5
"""Of the (epsilon, delta) that receipts state."""


def noisy_gd(
  *,
  learning_rate: float = 0.5,
  noise: float = 0.05,
  l2: float = 0.01,
  radius: float = 1.0,
  steps: int = 600,
  forget_steps: int = 200,
  order: float = 2.0,
  site: str = "head:in",
) -> Method:
  """Learns and deletes by one noisy descent on all data, whose deletion guarantee is a closed form.

  theta <- theta - eta grad L_D(theta) + sqrt(2 eta) N(0, s^2 I), L_D = mean_D CE + (l2 / 2) |theta|^2. `learn` starts
  from theta_0 ~ N(0, s^2 / (l2 (1 - eta l2 / 2)) I) and takes K steps on D; `forget` takes K' more on R and keeps
  nothing but the weights. The result is close, in Renyi divergence, to weights that never depended on what was deleted,
  whatever requests came before: `state.slots["divergence"]` is the bound of `metrics.noisy_gd_rdp` for the last
  request, at order `order`, for requests that were not chosen by looking at the models; that function also knows the
  price of the others. It falls by (1 - eta l2)^2 a step and grows with the square of |F| / n: whole classes are beyond
  it.

  The descent is over the last layer, on features cut to norm `radius`, so that the loss is convex, L-Lipschitz and
  beta-smooth without any clipping of gradients: L = sqrt(2 (radius^2 + 1)) and beta = (radius^2 + 1) / 2 with a bias.
  The guarantee is about that layer: it is the model's if the other layers never saw the data that is removed. The model
  that is served cuts its features in the same way. `uj.learn` comes first, and `uj.forget(start=)` goes on from its
  result; the retain set must be what was learned less all that was ever forgotten.

  Args:
    learning_rate: eta > 0, below 1 / (l2 + beta).
    noise: s > 0.
    l2: > 0.
    radius: > 0.
    steps: K >= 1.
    forget_steps: K' >= 1.
    order: > 1, of the divergence that is reported.
    site: the features: the input of the layer, f[B, d].

  Raises:
    ValueError: numbers out of range, a site that no linear layer reads, `forget` before `learn`, a second `learn`, or a
      request without a retain set.

  Example:
    >>> noisy_gd(noise=0.1).name
    'noisy_gd'
  """
  for name, value in (("noise", noise), ("l2", l2), ("radius", radius), ("steps", steps)):
    check.positive(name, value)
  check.positive("forget_steps", forget_steps)
  check.positive("learning_rate", learning_rate)
  limit = 1 / (l2 + (radius**2 + 1) / 2)
  if learning_rate >= limit:
    raise ValueError(f"learning_rate must be < 1 / (l2 + beta) = {limit:.4g}, got {learning_rate}")
  if order <= 1:
    raise ValueError(f"order must be > 1, got {order}")

  def bind(fn: ModelFn) -> Verbs:
    served = heads.ClippedFn(fn, site, radius)
    objective = objectives.supervised(heads.linear, losses.cross_entropy, train=False)
    step = descend({"train": objective}, updates.langevin(learning_rate, noise, l2))

    def init(model, key):
      heads.head_of(model.params, site)
      slots = {"learned": jnp.array(False), "divergence": jnp.zeros(())}
      return UnlearnState.create(model.params, rng=key, model_state=model.state, slots=slots), EMPTY

    def descent(state, head, source, count, run):
      inner = UnlearnState.create(head, rng=fold_name(jax.random.fold_in(state.rng, state.step), "descent"))
      plan = zip_roles(train=source, batch_size=heads.full_batch(source), epochs=count)
      inner, _ = fit(step, restart(inner, step), plan, run=run)
      return heads.with_head(state, site, inner.params)

    def learn(state, refs, task, run):
      if bool(state.slots["learned"]):
        raise ValueError(f"noisy_gd learns once, from all data; task {task.name!r} is its second")
      head = heads.head_of(state.params, site)
      keys = dict(zip(head, jax.random.split(fold_name(state.rng, "start"), len(head))))
      scale = noise / math.sqrt(l2 * (1 - learning_rate * l2 / 2))
      start = {name: scale * jax.random.normal(keys[name], x.shape, x.dtype) for name, x in head.items()}
      state = descent(state, start, heads.features(served, state, task.train, run, site), steps, run)
      return state.replace(slots={**state.slots, "learned": jnp.array(True)}), refs

    def forget(state, refs, request, run):
      if not bool(state.slots["learned"]):
        raise ValueError("noisy_gd must learn before it can forget: give uj.learn's result to uj.forget(start=)")
      kept = need_retain("noisy_gd", request)
      gone, kept = heads.split_features(served, state, request.forget, kept, run, site)
      head = heads.head_of(state.params, site)
      lipschitz = math.sqrt(2 * (radius**2 + ("bias" in head)))
      bound = noisy_gd_rdp(
        order, learning_rate=learning_rate, noise=noise, l2=l2, lipschitz=lipschitz, size=len(gone) + len(kept),
        changed=len(gone), forget_steps=forget_steps,
      )  # fmt: skip
      state = descent(state, head, kept, forget_steps, run)
      return state.replace(slots={**state.slots, "divergence": jnp.asarray(bound, jnp.float32)}), refs

    def model(state, refs):
      return Model(state.params, state.model_state, {}, served)

    return Verbs(init, model, learn=learn, forget=forget)

  def promise(state, refs):
    """The Renyi bound of the last request as (epsilon, delta), Mironov 2017, proposition 3."""
    epsilon = float(state.slots["divergence"]) + math.log(1 / DELTA) / (order - 1)
    about = (
      f"of the last layer, from its Renyi divergence of order {order:g}; of the model, if the rest saw no such data"
    )
    return Guarantee("certified", epsilon, DELTA, about) if math.isfinite(epsilon) else Guarantee()

  return Method("noisy_gd", bind, promise)
