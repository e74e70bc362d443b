"""What losses share: shape checks on facts known at trace time, and safe arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.types import Array


def at_least_f32(x: Array) -> Array:
  """`x` in float32 or wider, so that sums and exponentials do not run in half precision."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def absolute(x: Array) -> Array:
  """|x| whose derivative at 0 is 0 (that of `jnp.abs` is 1, which would push weights off an exact zero)."""
  return x * jax.lax.stop_gradient(jnp.sign(x))


def dtype_of(x) -> jnp.dtype:
  """The dtype of an array, or that of lists and numbers once they are one."""
  return x.dtype if hasattr(x, "dtype") else jnp.asarray(x).dtype


def whole_numbers(name: str, x: Array, hint: str = "") -> None:
  """`x` must hold integers."""
  if not jnp.issubdtype(dtype_of(x), jnp.integer):
    raise ValueError(f"{name} must be integers, got {dtype_of(x)}{hint}")


def class_labels(logits: Array, labels: Array) -> None:
  """Logits must be [B, C] and labels int[B]."""
  if np.ndim(logits) != 2:
    raise ValueError(f"logits must be [B, C], got shape {np.shape(logits)}")
  if np.shape(labels) != np.shape(logits)[:1]:
    raise ValueError(f"labels must be int[B] = int[{np.shape(logits)[0]}], got shape {np.shape(labels)}")
  whole_numbers("labels", labels, "; use soft_cross_entropy for probabilities")


def two_classes(name: str, scores: Array) -> None:
  """`scores` [..., C] must have C >= 2: with one class there is no other."""
  if np.shape(scores)[-1] < 2:
    raise ValueError(f"{name} must have at least two classes, got shape {np.shape(scores)}")


def nan_outside(values: Array, rows: Array, count: int) -> Array:
  """f[...] values, NaN where the int[...] `rows` they were looked up by are not in [0, count)."""
  return jnp.where((rows >= 0) & (rows < count), values, jnp.nan)


def log_at(probs: Array, log_probs: Array) -> Array:
  """`log_probs` for a sum of probs * log_probs: 0 where the product of 0 and -inf has to be 0."""
  return jnp.where((probs == 0) & jnp.isneginf(log_probs), 0, log_probs)


def kl_of_logs(log_p: Array, log_q: Array) -> Array:
  """sum exp(log_p) (log_p - log_q) over the last axis, where classes of probability 0 under p add nothing."""
  support = log_p > -jnp.inf
  apart = jnp.where(support, log_p, 0) - jnp.where(support, log_q, 0)
  return jnp.sum(jnp.where(support, jnp.exp(log_p) * apart, 0), axis=-1)


def same_shape(first_name: str, first: Array, second_name: str, second: Array) -> None:
  """Both arrays must have one shape: broadcasting here would hide a mistake."""
  if np.shape(first) != np.shape(second):
    raise ValueError(f"{second_name} must have the shape of {first_name} {np.shape(first)}, got {np.shape(second)}")


def batched(name: str, x: Array, axes: str) -> None:
  """`x` must have as many axes as `axes` names, e.g. "B, d"."""
  if np.ndim(x) != len(axes.split(",")):
    raise ValueError(f"{name} must be [{axes}], got shape {np.shape(x)}")
