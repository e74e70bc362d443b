"""Token losses towards distributions: the reference's, a reference that was argued with, or the model's own.

Aligned arrays and masks as in `losses.tokens`; all return f[B, T], 0 where a token is not scored.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes
from unlearnjax.losses.tokens import scored, scored_mask

COMPAT = (None, "open_unlearning")


def soft_target_ce(logits: Array, probs: Array, mask: Array | None = None) -> Array:
  """-sum_v probs_v log softmax(logits)_v. The targets receive no gradient.

  Args:
    logits: f[B, T, V].
    probs: f[B, T, V], rows that sum to 1 where they are scored.
    mask: bool[B, T], all by default.

  Returns:
    f[B, T] >= 0, in nats.

  Example:
    >>> round(float(soft_target_ce(jnp.zeros((1, 1, 2)), jnp.array([[[0.3, 0.7]]]))[0, 0]), 4)
    0.6931
  """
  shapes.same_shape("logits", logits, "probs", probs)
  logits, _, mask = scored(logits, None, mask)
  probs = jax.lax.stop_gradient(jnp.where(mask[..., None], shapes.at_least_f32(probs), 0))
  log_probs = jax.nn.log_softmax(logits, axis=-1)
  return -jnp.sum(jnp.where(probs > 0, probs * jnp.where(probs > 0, log_probs, 0), 0), axis=-1)


def kl_ref(logits: Array, ref_logits: Array, mask: Array | None = None) -> Array:
  """KL(p_ref || p) of every scored token: stays where the reference was.

  Args:
    logits: f[B, T, V].
    ref_logits: f[B, T, V] of the reference, under stop_gradient.
    mask: bool[B, T], all by default. TOFU's code and its descendants average over every position, prompt and padding
      included.

  Returns:
    f[B, T] >= 0, in nats; 0 with zero gradient where both agree.

  Example:
    >>> ref = jnp.log(jnp.array([[[0.5, 0.3, 0.2]]]))
    >>> round(float(kl_ref(jnp.zeros((1, 1, 3)), ref)[0, 0]), 6)
    0.068959
  """
  shapes.same_shape("logits", logits, "ref_logits", ref_logits)
  logits, _, mask = scored(logits, None, mask)
  ref = jax.lax.stop_gradient(jnp.where(mask[..., None], shapes.at_least_f32(ref_logits), 0))
  ref, now = jax.nn.log_softmax(ref, axis=-1), jax.nn.log_softmax(logits, axis=-1)
  return shapes.kl_of_logs(ref, now)


def undial(
  logits: Array,
  ref_logits: Array,
  targets: Array,
  mask: Array | None = None,
  beta: float = 10.0,
  compat: str | None = None,
) -> Array:
  """CE to softmax(ref_logits - beta onehot(target)): distils a reference that was talked out of its answer.

  Bounded: the fixed point is p = that target. Dong et al. 2024, arXiv:2402.10052.

  Args:
    logits: f[B, T, V].
    ref_logits: f[B, T, V] of the reference, under stop_gradient.
    targets: int[B, T] memorised tokens in [0, V); a scored one outside gives NaN rather than a wrong number.
    mask: bool[B, T], all by default.
    beta: >= 0, how much the logit of the memorised token is lowered; 0 is self-distillation.
    compat: `"open_unlearning"` scores all positions, and where the mask is False lowers the logit of token V - 100
      (the label -100 taken as an index), as the reference implementation does; it needs V >= 100.

  Returns:
    f[B, T] >= 0, in nats.

  Example:
    >>> z = jnp.array([[[2.0, 1.0, 0.0, -1.0]]])
    >>> round(float(undial(z, z, jnp.array([[0]]))[0, 0]), 5)
    1.86486
  """
  check.positive("beta", beta, zero=True)
  check.one_of("compat", compat, COMPAT)
  shapes.same_shape("logits", logits, "ref_logits", ref_logits)
  _, targets, mask = scored(logits, targets, mask)
  vocabulary = np.shape(logits)[-1]
  if compat is not None:
    if vocabulary < 100:
      raise ValueError(f"compat='open_unlearning' needs a vocabulary of at least 100 tokens, got {vocabulary}")
    targets, mask = jnp.where(mask, targets, vocabulary - 100), jnp.ones_like(mask)
  lowered = shapes.at_least_f32(ref_logits) - beta * jax.nn.one_hot(targets, vocabulary)
  found = soft_target_ce(logits, jax.nn.softmax(jnp.where(mask[..., None], lowered, 0), axis=-1), mask)
  return jnp.where(mask, shapes.nan_outside(found, targets, vocabulary), 0)


def ceu(logits: Array, targets: Array, mask: Array | None = None) -> Array:
  """CE to the model's own distribution without the target token, sg softmax(logits with logit_target = -inf).

  The gradient in the target's logit is p_target: it fades as the token is forgotten, where that of ascent, 1 - p,
  grows. The paper leaves the first answer token out: `drop_first(mask, 1)`. Yang 2025, arXiv:2503.01224.

  Args:
    logits: f[B, T, V], V >= 2.
    targets: int[B, T] memorised tokens in [0, V); a scored one outside gives NaN rather than a wrong number.
    mask: bool[B, T], all by default.

  Returns:
    f[B, T] >= 0, in nats.

  Example:
    >>> round(float(ceu(jnp.array([[[2.0, 1.0, 0.0, -1.0]]]), jnp.array([[0]]))[0, 0]), 5)
    1.86498
  """
  z, targets, mask = scored(logits, targets, mask)
  if z.shape[-1] < 2:
    raise ValueError(f"logits need a vocabulary of at least two tokens, got shape {np.shape(logits)}")
  others = jnp.where(jax.nn.one_hot(targets, z.shape[-1], dtype=bool), -jnp.inf, jax.lax.stop_gradient(z))
  found = soft_target_ce(z, jax.nn.softmax(others, axis=-1), mask)
  return jnp.where(mask, shapes.nan_outside(found, targets, z.shape[-1]), 0)


def logit_margin(logits: Array, mask: Array | None = None) -> Array:
  """(max_v logits - mean_v logits)^2: 0 for a model that says nothing. The forget term of PDU.

  Args:
    logits: f[B, T, V].
    mask: bool[B, T], all by default.

  Returns:
    f[B, T] >= 0; it does not change when a constant is added to the logits.

  Example:
    >>> float(logit_margin(jnp.array([[[2.0, 1.0, 0.0, -1.0]]]))[0, 0])
    2.25
  """
  logits, _, mask = scored(logits, None, mask)
  return jnp.where(mask, jnp.square(jnp.max(logits, axis=-1) - jnp.mean(logits, axis=-1)), 0)


def generic_logits(logits: Array, reinforced_logits: Array, alpha: float = 5.0) -> Array:
  """logits - alpha max(reinforced - logits, 0): what a model would say without what a reinforced one says louder.

  As labels (the argmax) it is the teacher of Who's Harry Potter, as a model the offset that MUSE calls by that name.
  Eldan & Russinovich 2023, arXiv:2310.02238.

  Args:
    logits: f[..., V] of the model.
    reinforced_logits: f[..., V] of the model trained further on what is to be forgotten.
    alpha: >= 0; 5 in the paper, 1 in MUSE.

  Example:
    >>> generic_logits(jnp.array([2.0, 1.0, 0.0]), jnp.array([4.0, 0.5, 0.0])).tolist()
    [-8.0, 1.0, 0.0]
  """
  check.positive("alpha", alpha, zero=True)
  shapes.same_shape("logits", logits, "reinforced_logits", reinforced_logits)
  logits, reinforced = shapes.at_least_f32(logits), shapes.at_least_f32(reinforced_logits)
  return logits - alpha * jax.nn.relu(reinforced - logits)


def rmu(hidden: Array, target: Array, mask: Array | None = None) -> Array:
  """Mean over channels of (hidden - target)^2 at every scored position: RMU's loss, for both of its roles.

  On the forget set the target is one fixed vector (`control_vector`), on the retain set the activations of the
  reference. Li et al. 2024, arXiv:2403.03218.

  Args:
    hidden: f[B, T, d], activations of one site.
    target: f[d], or f[B, T, d], under stop_gradient.
    mask: bool[B, T], positions that count; all by default. The original has none: padding is steered as well.

  Returns:
    f[B, T] >= 0.

  Raises:
    ValueError: a target of another shape.

  Example:
    >>> rmu(jnp.ones((1, 2, 3)), jnp.zeros(3), jnp.array([[True, False]])).tolist()
    [[1.0, 0.0]]
  """
  shapes.batched("hidden", hidden, "B, T, d")
  shape = np.shape(hidden)
  if np.shape(target) not in (shape, shape[-1:]):
    raise ValueError(f"target must be [d] = [{shape[-1]}] or of the shape of hidden {shape}, got {np.shape(target)}")
  mask = scored_mask(mask, shape[:2])
  target = jax.lax.stop_gradient(shapes.at_least_f32(target))
  apart = jnp.where(mask[..., None], shapes.at_least_f32(hidden) - target, 0)
  return jnp.mean(jnp.square(apart), axis=-1)


def control_vector(key: Array, width: int, steering: float = 20.0) -> Array:
  """steering u / |u| with u uniform in [0, 1)^width: RMU's target. Its entries are never negative.

  Args:
    key: a typed key; one a topic.
    width: d > 0, channels of the site.
    steering: > 0, the length; 20 in the paper's script, 6.5 for Zephyr.

  Returns:
    f32[width].

  Example:
    >>> u = control_vector(jax.random.key(0), 4, steering=2.0)
    >>> bool((u >= 0).all()), round(float(jnp.linalg.norm(u)), 4)
    (True, 2.0)
  """
  check.positive("width", width)
  check.positive("steering", steering)
  u = jax.random.uniform(key, (width,))
  return steering * u / jnp.linalg.norm(u)
