"""Forgetting towards something fixed: activations that mean nothing, or a teacher that was talked out of it."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import optax

from unlearnjax import losses, objectives, updates
from unlearnjax.core import Method, check
from unlearnjax.core.tree import paths
from unlearnjax.methods.language.recipe import unlearner


def rmu(
  site: str,
  *,
  width: int,
  where: str,
  layers: tuple[int, ...] | None = None,
  steering: float = 20.0,
  alpha: float = 100.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 1,
  batch_size: int = 4,
) -> Method:
  """Steers activations on the forget set to one random vector and keeps those on the retain set.

  mean |h_F - c|^2 + alpha mean |h_R - h_R,ref|^2 at one site, c = steering u / |u|. Li et al. 2024, arXiv:2403.03218:
  block 7 of Zephyr, the MLP down-projections of blocks 5 to 7, alpha 1200 and steering 6.5 there.

  Args:
    site: activation f[B, T, d], the residual stream after a block.
    width: d.
    where: pattern of the parameters that may move, matched against whole paths such as "blocks/mlp/down/kernel".
    layers: of parameters that are stacked over layers, those that may move; None for all, or where none is stacked.
    steering: length of the target.
    alpha: weight of the retain term.
    tx: optimizer; AdamW 5e-5 without decay by default. The mask is applied to its updates.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Raises:
    ValueError: when bound to a model, a pattern that matches no parameter.

  Example:
    >>> rmu("blocks/6", width=64, where="blocks/mlp/down/kernel", layers=(4, 5, 6)).name
    'rmu'
  """
  check.positive("width", width)
  tx = optax.adamw(5e-5, weight_decay=0.0) if tx is None else tx

  def refs(model, key):
    moves = {name: re.fullmatch(where, name) is not None for name in paths(model.params)}
    if not any(moves.values()):
      raise ValueError(f"where={where!r} matches no parameter; there are {', '.join(moves)}")
    leaves, structure = jax.tree.flatten(model.params)
    part = ... if layers is None else jnp.asarray(layers)
    mask = [jnp.zeros(x.shape, bool).at[part].set(m) for x, m in zip(leaves, moves.values(), strict=True)]
    return {"control": losses.control_vector(key, width, steering), "moves": structure.unflatten(mask)}

  return unlearner(
    "rmu",
    lambda fn: objectives.rmu(fn, site)["forget"],
    lambda fn: objectives.rmu(fn, site)["retain"],
    tx=optax.chain(tx, updates.mask_by("moves")),
    epochs=epochs,
    batch_size=batch_size,
    alpha=alpha,
    reference=True,
    refs=refs,
  )


def undial(
  *,
  beta: float = 10.0,
  gamma: float = 1.0,
  alpha: float = 0.0,
  tx: optax.GradientTransformation | None = None,
  epochs: int = 10,
  batch_size: int = 32,
) -> Method:
  """Distils the original model with the logit of every memorised token lowered by beta. Dong et al., arXiv:2402.10052.

  Bounded: it cannot collapse. The paper trains adapters of rank 8 with 1e-4.

  Args:
    beta: >= 0.
    gamma: weight of the distillation.
    alpha: weight of the nll on the retain set; 0 needs none.
    tx: optimizer; AdamW 1e-5 with TOFU's schedule by default.
    epochs: passes over the forget set.
    batch_size: rows of each role.

  Example:
    >>> undial(beta=3.0).name
    'undial'
  """
  return unlearner(
    "undial",
    lambda fn: objectives.undial(fn, beta),
    "nll" if alpha else None,
    tx=tx,
    epochs=epochs,
    batch_size=batch_size,
    gamma=gamma,
    alpha=alpha,
    reference=True,
  )
