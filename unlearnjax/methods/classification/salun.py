"""SalUn: saliency unlearning. Fan et al., ICLR 2024, arXiv:2310.12508 (paper 95)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unlearnjax import curvature, objectives, updates
from unlearnjax.core import (
  Method,
  ModelFn,
  Verbs,
  check,
  descend,
  fit,
  fold,
  need_retain,
  plain_init,
  plain_model,
  view_model,
  zip_roles,
)
from unlearnjax.methods.parts import restart


def salun(
  *,
  density: float = 0.5,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 256,
  exclude_true: bool = False,
) -> Method:
  """Relabels the forget set at random and moves only the weights that the forget loss is most sensitive to.

  mask = 1[|grad L_forget(theta_o)| >= gamma], gamma the (1 - density) quantile over all weights;
  theta <- theta - mask * tx(grad [CE(forget, random labels) + CE(retain)]).

  Args:
    density: fraction of weights that may move, in (0, 1]; 1.0 is plain random labelling.
    tx: optimizer, SGD 0.013 with momentum 0.9 by default; the mask is applied to its updates, so decay and momentum
      cannot move a frozen weight.
    epochs: passes over the retain set.
    batch_size: rows of each role.
    exclude_true: draws y' != y. The reference code draws over all classes, so that a forgotten class stays right once
      in C times.

  Raises:
    ValueError: density outside (0, 1], or a request without a retain set.

  Example:
    >>> salun(density=0.3).name
    'salun'
  """
  check.fraction("density", density)
  tx = optax.sgd(0.013, momentum=0.9) if tx is None else tx
  check.optimizer("tx", tx)
  if density < 1:  # a mask that is true everywhere would still round differently
    tx = optax.chain(tx, updates.mask_by("saliency"))

  def bind(fn: ModelFn) -> Verbs:
    score = curvature.saliency(objectives.cross_entropy(fn, train=False))
    step = descend(
      {"forget": objectives.random_label(fn, exclude_true=exclude_true), "retain": objectives.cross_entropy(fn)},
      tx,
      state_from="retain",
    )
    everything = lambda model, key: {"saliency": jax.tree.map(lambda p: jnp.ones(p.shape, bool), model.params)}

    def forget(state, refs, request, run):
      need_retain("salun", request)
      model = view_model(fn, state)
      mask = run.once(
        "saliency", lambda: curvature.top_saliency(fold(score, model, request.forget, run, name="saliency"), density)
      )
      refs = {"saliency": mask}
      plan = zip_roles(
        anchor="retain", batch_size=batch_size, epochs=epochs, forget=request.forget, retain=request.retain
      )
      return fit(step, restart(state, step), plan, refs, run)[0], refs

    return Verbs(plain_init(step, refs=everything), plain_model(fn), forget=forget)

  return Method("salun", bind)
