"""Forgetting in the part of the weights that holds what is forgotten."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from unlearnjax import curvature, objectives, updates
from unlearnjax.core import Method, check, fold, need_retain
from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import Array, ArrayTree, Params
from unlearnjax.curvature.weights import ATTRIBUTIONS, STACKED, Rule
from unlearnjax.methods.language.ascent import grad_diff
from unlearnjax.methods.language.recipe import Builder, adamw, unlearner
from unlearnjax.methods.masked import masked

READS = {"random": (), "magnitude": (), "snip": ("forget",), "gradient": ("forget",)}
"""Sets whose gradients an attribution reads, where it does not read both."""


def wagle(
  method: Callable[..., Method] = grad_diff,
  *,
  density: float = 0.95,
  attribution: str | Rule = "wagle",
  hessian: float = 1e-6,
  loss: Builder | None = None,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 5,
  batch_size: int = 32,
  **settings,
) -> Method:
  """Scores every weight by two gradients, and lets any method move only those that matter to what is forgotten.

  S = theta g_f - g_r g_f / gamma; the fraction `density` with the largest |S| over all weights together may move. Jia
  et al. 2024, arXiv:2410.17509 (paper 109). The released code masks the gradient before AdamW, whose decay then moves
  what is frozen; here the update is masked.

  Args:
    method: factory of the method that forgets, such as `methods.npo`, `methods.idk` or, with a `loss`, one on
      classifiers. It must take `tx`, `epochs` and `batch_size`, and train the parameters that it
      is given.
    density: rho, the fraction of weights that may move, in (0, 1]; 1 is the method itself.
    attribution: a rule of `curvature.weight_attribution`, or "random".
    hessian: gamma > 0 of the rule: what the Hessian of the retain loss is taken for.
    loss: builds the loss that both gradients are of, in eval mode; the nll of the answers by default, for classifiers
      `functools.partial(objectives.cross_entropy, train=False)`.
    tx: optimizer of the method; AdamW 1e-5 with decay 0.1 and TOFU's schedule by default.
    epochs: of the method.
    batch_size: of the method, and of the pass for each gradient.
    **settings: further arguments of the method.

  Raises:
    ValueError: density, gamma or attribution out of range; a request without a retain set, where a rule reads it.

  Example:
    >>> from unlearnjax import methods
    >>> wagle(methods.npo, density=0.8, attribution="snip", batch_size=16).name
    'wagle'
  """
  check.fraction("density", density)
  check.positive("hessian", hessian)
  if not callable(attribution):
    check.one_of("attribution", attribution, (*ATTRIBUTIONS, "random"))
  tx = adamw(epochs, decay=0.1) if tx is None else tx
  loss = functools.partial(objectives.nll, train=False) if loss is None else loss
  make = lambda tx: method(tx=tx, epochs=epochs, batch_size=batch_size, **settings)
  if density == 1:  # a mask that is true everywhere would still round differently
    return make(tx)._replace(name="wagle")

  def masker(fn):
    gradient = curvature.gradient(loss(fn))

    def mask(model, request, run, key):
      if attribution == "random":
        return curvature.top_saliency(_random(model.params, key), density)
      zeros = jax.tree.map(jnp.zeros_like, model.params)
      found = {"forget": zeros, "retain": zeros}
      for role in READS.get(attribution, ("forget", "retain")):
        source = request.forget if role == "forget" else need_retain("wagle", request)
        found[role] = fold(gradient, model, source, run, name=role, batch_size=batch_size)
      scores = curvature.weight_attribution(model.params, **found, rule=attribution, gamma=hessian)
      return curvature.top_saliency(scores, density)

    return mask

  return masked("wagle", make, tx, masker)


def _random(params: Params, key: Array) -> ArrayTree:
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(fold_name(key, "attribution"), len(leaves))
  return structure.unflatten([jax.random.uniform(k, p.shape) for k, p in zip(keys, leaves)])


def memflex(
  *,
  cosine: float = 0.92,
  magnitude: float = 6e-4,
  copies: int = 3,
  gamma: float = 0.4,
  alpha: float = 2.0,
  stacked: str = STACKED,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 2,
  batch_size: int = 16,
) -> Method:
  """Forgets in the tensors whose gradients on both sets point apart and are large on the forget set.

  Both gradients are those of answers half of whose tokens were replaced at random. A tensor may move iff
  cos(g_f, g_r) < cosine and mean |g_f| > magnitude; then -gamma nll_F + alpha nll_R, means over answers of means over
  their tokens. Tian et al. 2024, arXiv:2407.01920 (paper 12).

  The paper runs it on adapters that were trained before: `through(lora, memflex())` on a fresh adapter finds b = 0, and
  so no gradient in a, which stays as it was drawn. To go on from trained adapters give `uj.forget` their state by
  `start=`.

  Args:
    cosine: mu in [-1, 1].
    magnitude: sigma >= 0, an absolute threshold: see `curvature.tensor_region`.
    copies: draws of replaced tokens, >= 1.
    gamma: weight of the ascent.
    alpha: weight of the descent.
    stacked: pattern of leaves whose first axis counts layers, each of which is a tensor.
    tx: optimizer; AdamW 3e-4 without decay and a cosine by default. The mask is applied to its updates.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Raises:
    ValueError: thresholds out of range; when it forgets, no tensor remains, or the request has no retain set.

  Example:
    >>> memflex(magnitude=1e-5).name
    'memflex'
  """
  if tx is None:
    tx = optax.chain(optax.adamw(3e-4, weight_decay=0.0), updates.by_progress(updates.cosine()))
  signed = lambda sign: lambda fn: objectives.signed_nll(fn, factor=sign)
  made = lambda tx: unlearner(
    "memflex", signed(-1.0), signed(1.0), tx=tx, epochs=epochs, batch_size=batch_size, gamma=gamma, alpha=alpha
  )

  def masker(fn):
    gradient = curvature.gradient(objectives.noisy_nll(fn, copies=copies))

    def mask(model, request, run, key):
      sources = {"forget": request.forget, "retain": need_retain("memflex", request)}
      found = {
        role: fold(gradient, model, source, run, name=role, rng=fold_name(key, "memflex"), batch_size=batch_size)
        for role, source in sources.items()
      }
      return curvature.tensor_region(**found, cosine=cosine, magnitude=magnitude, stacked=stacked)

    return mask

  return masked("memflex", made, tx, masker)
