"""Supervised losses per example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def cross_entropy(logits: Array, labels: Array, temperature: float = 1.0) -> Array:
  """-log softmax(logits / temperature)[label], in nats.

  Args:
    logits: f[B, C].
    labels: int[B] in [0, C). A label outside makes the loss NaN rather than a wrong number.
    temperature: > 0.

  Returns:
    f[B] >= 0, in float32 or wider.

  Raises:
    ValueError: shapes other than [B, C] and [B], labels that are not integers, temperature <= 0.

  Example:
    >>> loss = cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))
    >>> round(float(loss[0]), 4)
    1.3863
  """
  shapes.class_labels(logits, labels)
  check.positive("temperature", temperature)
  logits = shapes.at_least_f32(logits) / temperature
  labels = jnp.asarray(labels)
  inside = (labels >= 0) & (labels < logits.shape[-1])
  picked = jnp.take_along_axis(logits, jnp.where(inside, labels, 0)[:, None], axis=-1)[:, 0]
  return jnp.where(inside, jax.nn.logsumexp(logits, axis=-1) - picked, jnp.nan)


def soft_cross_entropy(logits: Array, probs: Array) -> Array:
  """-sum_c probs_c log softmax(logits)_c, in nats.

  Args:
    logits: f[B, C].
    probs: f[B, C], rows that sum to 1.

  Returns:
    f[B], in float32 or wider.

  Example:
    >>> round(float(soft_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.3, 0.7]]))[0]), 4)
    0.6931
  """
  shapes.batched("logits", logits, "B, C")
  shapes.same_shape("logits", logits, "probs", probs)
  probs, log_probs = shapes.at_least_f32(probs), jax.nn.log_softmax(shapes.at_least_f32(logits), axis=-1)
  return -jnp.sum(probs * shapes.log_at(probs, log_probs), axis=-1)


def binary_cross_entropy(logits: Array, targets: Array) -> Array:
  """Multi-label cross entropy: mean over the K attributes of -t log s(z) - (1 - t) log s(-z), s the logistic function.

  Args:
    logits: f[B, K].
    targets: f or int [B, K] in [0, 1].

  Returns:
    f[B] >= 0, in float32 or wider.

  Example:
    >>> round(float(binary_cross_entropy(jnp.zeros((1, 3)), jnp.array([[0, 1, 1]]))[0]), 4)
    0.6931
  """
  shapes.batched("logits", logits, "B, K")
  shapes.same_shape("logits", logits, "targets", targets)
  logits, targets = shapes.at_least_f32(logits), shapes.at_least_f32(targets)
  return jnp.mean(jax.nn.softplus(logits) - targets * logits, axis=-1)


def squared_error(predictions: Array, targets: Array) -> Array:
  """Squared error, mean over the outputs of an example.

  Args:
    predictions: f[B] or f[B, K].
    targets: f[B] or f[B, K]; one trailing axis of size 1 may be missing on either side.

  Returns:
    f[B] >= 0.

  Example:
    >>> squared_error(jnp.array([[1.0], [3.0]]), jnp.array([0.0, 1.0])).tolist()
    [1.0, 4.0]
  """
  return jnp.mean(jnp.square(_residual(predictions, targets)), axis=-1)


def absolute_error(predictions: Array, targets: Array) -> Array:
  """Absolute error, mean over the outputs of an example; shapes as in `squared_error`.

  Example:
    >>> absolute_error(jnp.array([[1.0], [3.0]]), jnp.array([0.0, 5.0])).tolist()
    [1.0, 2.0]
  """
  return jnp.mean(shapes.absolute(_residual(predictions, targets)), axis=-1)


def unlikelihood(logits: Array, labels: Array, offset: float = 0.0) -> Array:
  """-log(1 - p_label + offset): a bounded way to forget when offset > 0.

  Args:
    logits: f[B, C].
    labels: int[B].
    offset: >= 0; .05 in the projected-gradient rival of one-shot unlearning (arXiv:2407.12069).

  Returns:
    f[B], at least -log(1 + offset); at most -log(offset) when offset > 0.

  Example:
    >>> round(float(unlikelihood(jnp.zeros((1, 2)), jnp.array([0]))[0]), 4)
    0.6931
  """
  check.positive("offset", offset, zero=True)
  nll = cross_entropy(logits, labels)
  # 1 - p = -expm1(-nll) keeps its digits where p is close to 1; the floor keeps log and its gradient finite
  rest = jnp.maximum(-jnp.expm1(-nll) + offset, jnp.finfo(nll.dtype).tiny)
  return -jnp.log(rest)


def entropy(logits: Array) -> Array:
  """Entropy of softmax(logits), in nats.

  Args:
    logits: f[..., C]; classes of -inf are left out.

  Returns:
    f[...] in [0, log C].

  Example:
    >>> round(float(entropy(jnp.zeros(4))), 4)
    1.3863
  """
  log_probs = jax.nn.log_softmax(shapes.at_least_f32(logits), axis=-1)
  probs = jnp.exp(log_probs)
  return -jnp.sum(probs * shapes.log_at(probs, log_probs), axis=-1)


def _residual(predictions: Array, targets: Array) -> Array:
  """[B, K] differences; [B] and [B, 1] mean the same, anything else would broadcast to [B, B]."""
  predictions, targets = shapes.at_least_f32(predictions), shapes.at_least_f32(targets)
  predictions, targets = (x[:, None] if x.ndim == 1 else x for x in (predictions, targets))
  shapes.batched("predictions", predictions, "B, K")
  shapes.same_shape("predictions", predictions, "targets", targets)
  return predictions - targets


def one_vs_all(
  logits: Array,
  labels: Array,
  classes: Array,
  *,
  teacher_logits: Array | None = None,
  old: Array | None = None,
) -> Array:
  """Sum over classes of -t log s(z) - (1 - t) log(1 - s(z)), s the logistic function: one binary question a class.

  Without memory a softmax over old and new classes starves the old logits; here no class competes with another. With a
  teacher the targets of old classes are its own answers s(teacher), which makes classification and distillation one
  loss, "LwF.MC". Smith et al., arXiv:2203.17269 (paper 54).

  Args:
    logits: f[B, C].
    labels: int[B] in [0, C). A label outside makes the loss NaN rather than a wrong number.
    classes: bool[C], the classes that count: those seen so far.
    teacher_logits: f[B, C], under stop_gradient.
    old: bool[C], the classes whose targets are the teacher's; needed with a teacher.

  Returns:
    f[B] >= 0, in float32 or wider.

  Example:
    >>> z, old = jnp.zeros((1, 2)), jnp.array([True, False])
    >>> round(float(one_vs_all(z, jnp.array([1]), jnp.array([True, True]), teacher_logits=z, old=old)[0]), 4)  # 2 ln 2
    1.3863
  """
  shapes.class_labels(logits, labels)
  if (teacher_logits is None) != (old is None):
    raise ValueError("one_vs_all takes teacher_logits and old together, got one of them")
  for name, chosen in (("classes", classes), ("old", old)):
    if chosen is not None and np.shape(chosen) != np.shape(logits)[1:]:
      raise ValueError(f"{name} must be bool[C] = bool[{np.shape(logits)[1]}], got shape {np.shape(chosen)}")
  z, labels = shapes.at_least_f32(logits), jnp.asarray(labels)
  targets = jax.nn.one_hot(labels, z.shape[-1], dtype=z.dtype)
  if teacher_logits is not None:
    shapes.same_shape("logits", logits, "teacher_logits", teacher_logits)
    answers = jax.nn.sigmoid(jax.lax.stop_gradient(shapes.at_least_f32(teacher_logits)))
    targets = jnp.where(jnp.asarray(old, bool), answers, targets)
  terms = -targets * jax.nn.log_sigmoid(z) - (1 - targets) * jax.nn.log_sigmoid(-z)
  return shapes.nan_outside(jnp.sum(jnp.where(jnp.asarray(classes, bool), terms, 0), axis=-1), labels, z.shape[-1])
