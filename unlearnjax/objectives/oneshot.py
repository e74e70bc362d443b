"""Forgetting from the forget set alone, in one pass: Lipschitz smoothing, and noise that maximises the error."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax import losses
from unlearnjax.core import check
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import ModelFn, Objective
from unlearnjax.objectives.bind import column, forward, mean, ref, total, with_state


def lipschitz(
  fn: ModelFn,
  *,
  sigma: float,
  samples: int = 25,
  low: float | None = 0.0,
  high: float | None = 1.0,
  train: bool = True,
) -> Objective:
  """sum_b mean_k |f(x_b) - f(x_bk)| / |x_b - x_bk| with x_bk = clip(x_b + sigma N(0, I)): JiT, arXiv:2402.01401.

  A sum over the batch, as published: the learning rate belongs to the batch size. The noisy branch has no gradient.

  Args:
    fn: the model.
    sigma: > 0, in the units of the input; the published values reach from .01 to 30.
    samples: noisy copies of each input, run one after another.
    low: lower end of the valid input range, or None.
    high: upper end of the valid input range, or None.
    train: runs the clean branch for training; the noisy copies run in eval mode.
  """
  check.positive("sigma", sigma)
  check.positive("samples", samples)

  def objective(params, batch, view):
    out = forward(fn, params, batch, view, train=train)
    x = batch["inputs"]["x"]

    def ratio(key):
      noisy = x + sigma * jax.random.normal(key, x.shape, x.dtype)
      noisy = noisy if low is None and high is None else jnp.clip(noisy, low, high)
      inputs = {**batch["inputs"], "x": noisy}
      other = fn(params, inputs, state=view.model_state, refs=view.refs, train=False).logits
      return losses.lipschitz_ratio(out.logits, jax.lax.stop_gradient(other), x, noisy)

    keys = jax.random.split(fold_name(view.rng, "noise"), samples)
    value, aux = total(jnp.mean(jax.lax.map(ratio, keys), axis=0), batch)
    return value, with_state(aux, out, view, train)

  return objective


def error_maximizing_noise(fn: ModelFn, *, l2: float = 0.1, reference: str = "teacher", target: str = "y") -> Objective:
  """-CE(f(theta_o; N), y) + l2 mean_b |N_b|^2: learns noise that the original model finds as unlike class y as it can.

  The first stage of UNSIR, Tarun et al., arXiv:2111.08947. Its parameters are the noise, {"noise": f[B, ...]}, one
  image a row of the batch; the model runs in eval mode.

  Args:
    fn: a classifier.
    l2: >= 0, weight of the squared size of the noise.
    reference: the original model's name in refs.
    target: column of the int labels that the noise works against.
  """
  check.positive("l2", l2, zero=True)

  def objective(params, batch, view):
    noise, model = params["noise"], ref(view, reference)
    logits = fn(model["params"], {"x": noise}, state=model.get("state", ()), refs=view.refs, train=False).logits
    size = jnp.sum(jnp.square(noise).reshape(noise.shape[0], -1), axis=-1)
    return mean(l2 * size - losses.cross_entropy(logits, column(batch, target)), batch)

  return objective
