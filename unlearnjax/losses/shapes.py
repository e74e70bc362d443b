"""What losses share: shape checks on facts known at trace time, and safe arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unlearnjax.core.types import Array


def at_least_f32(x: Array) -> Array:
  """`x` in float32 or wider, so that sums and exponentials do not run in half precision."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def absolute(x: Array) -> Array:
  """|x| whose derivative at 0 is 0 (that of `jnp.abs` is 1, which would push weights off an exact zero)."""
  return x * jax.lax.stop_gradient(jnp.sign(x))


def class_labels(logits: Array, labels: Array) -> None:
  """Logits must be [B, C] and labels int[B]."""
  if jnp.ndim(logits) != 2:
    raise ValueError(f"logits must be [B, C], got shape {jnp.shape(logits)}")
  if jnp.shape(labels) != jnp.shape(logits)[:1]:
    raise ValueError(f"labels must be int[B] = int[{jnp.shape(logits)[0]}], got shape {jnp.shape(labels)}")
  if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
    raise ValueError(
      f"labels must be integers, got {jnp.result_type(labels)}; use soft_cross_entropy for probabilities"
    )


def same_shape(first_name: str, first: Array, second_name: str, second: Array) -> None:
  """Both arrays must have one shape: broadcasting here would hide a mistake."""
  if jnp.shape(first) != jnp.shape(second):
    raise ValueError(f"{second_name} must have the shape of {first_name} {jnp.shape(first)}, got {jnp.shape(second)}")


def batched(name: str, x: Array, axes: str) -> None:
  """`x` must have as many axes as `axes` names, e.g. "B, d"."""
  if jnp.ndim(x) != len(axes.split(",")):
    raise ValueError(f"{name} must be [{axes}], got shape {jnp.shape(x)}")
