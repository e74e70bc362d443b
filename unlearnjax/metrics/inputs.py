"""Checks that metrics and attacks share: shapes always, values whenever they are known (not under `jit`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.types import Array
from unlearnjax.losses import shapes


def concrete(x) -> np.ndarray | None:
  """`x` as a numpy array, or None while it is traced."""
  try:
    return np.asarray(x)
  except jax.errors.TracerArrayConversionError:
    return None


def not_empty(name: str, x) -> None:
  """`x` must hold at least one number."""
  if 0 in np.shape(x):
    raise ValueError(f"{name} is empty: got shape {np.shape(x)}, expected at least one example")


def no_nan(name: str, x) -> None:
  """`x` must hold numbers: NaN would silently count as some class, rank or bin."""
  if isinstance(x, jax.core.Tracer):
    return
  missing = int((jnp if isinstance(x, jax.Array) else np).isnan(x).sum())  # counted where it lies
  if missing:
    raise ValueError(f"{name} must hold numbers, got NaN in {missing} of {np.size(x)} entries")


def unit_interval(name: str, x) -> None:
  """Values must lie in [0, 1]; percentages are the usual mistake."""
  values = concrete(x)
  if values is not None and not np.all((values >= -1e-6) & (values <= 1 + 1e-6)):
    raise ValueError(f"{name} must be a fraction in [0, 1], got {values}; divide percentages by 100")


def probabilities(name: str, probs: Array) -> None:
  """`probs` must be f[..., C], C >= 2, with rows that are >= 0 and sum to one."""
  if np.ndim(probs) < 1 or np.shape(probs)[-1] < 2:
    raise ValueError(f"{name} must be class probabilities [..., C] with C >= 2, got shape {np.shape(probs)}")
  not_empty(name, probs)
  values = concrete(probs)
  if values is None:
    return
  floating = jnp.issubdtype(values.dtype, jnp.floating)
  slack = max(1e-3, 8 * float(jnp.finfo(values.dtype).eps) if floating else 0)
  values = values.astype(np.float64)
  wrong = ~(np.abs(values.sum(-1) - 1) <= slack) | (values.min(-1) < -slack)
  if wrong.any():
    row = values[wrong][0] if values.ndim > 1 else values
    raise ValueError(
      f"{name} must have rows that are >= 0 and sum to 1; a row sums to {row.sum():.6g} with minimum {row.min():.6g}; "
      "apply softmax to logits first"
    )


def pair_of_probabilities(first_name: str, first: Array, second_name: str, second: Array) -> None:
  """Two sets of class probabilities of one shape."""
  shapes.same_shape(first_name, first, second_name, second)
  probabilities(first_name, first)
  probabilities(second_name, second)


def class_labels(name: str, labels: Array, scores_name: str, scores: Array) -> None:
  """`labels` must be int[N] in [0, C) for `scores` f[N, C], N >= 1."""
  if np.ndim(scores) != 2:
    raise ValueError(f"{scores_name} must be [N, C], got shape {np.shape(scores)}")
  not_empty(scores_name, scores)
  label_range(name, labels, np.shape(scores)[1], scores_name)
  if np.shape(labels) != np.shape(scores)[:1]:
    raise ValueError(
      f"{name} must be int[{np.shape(scores)[0]}], one label a row of {scores_name}, got shape {np.shape(labels)}"
    )


def label_range(name: str, labels: Array, classes: int, source: str = "classes") -> None:
  """`labels` must be integers in [0, classes)."""
  shapes.whole_numbers(name, labels)
  values = concrete(labels)
  if values is not None and values.size and (values.min() < 0 or values.max() >= classes):
    raise ValueError(f"{name} must lie in [0, {classes}) ({source}), got values in [{values.min()}, {values.max()}]")


def mask(valid: Array | None, size: int) -> Array:
  """`valid` as bool[size]; all true when it is None."""
  if valid is None:
    return jnp.ones(size, bool)
  if np.shape(valid) != (size,):
    raise ValueError(f"valid must be bool[{size}], got shape {np.shape(valid)}")
  return jnp.asarray(valid, bool)


def masked_mean(values: Array, valid: Array | None) -> Array:
  """Mean of f[N] over the valid rows; NaN without any."""
  valid = mask(valid, values.shape[0])
  return jnp.sum(jnp.where(valid, values, 0)) / jnp.sum(valid)


def host_vector(name: str, x, *, infinite: bool = False) -> np.ndarray:
  """`x` as f64[N], N >= 1; [N, 1] is accepted. NaN is refused, and so is infinity unless `infinite`."""
  values = np.asarray(x, np.float64)
  if values.ndim == 2 and values.shape[1] == 1:
    values = values[:, 0]
  if values.ndim != 1:
    raise ValueError(f"{name} must be f[N], got shape {values.shape}")
  not_empty(name, values)
  _refuse(name, values, np.isnan(values) if infinite else ~np.isfinite(values))
  return values


def host_matrix(name: str, x, *, rows: int, nan: bool = False) -> np.ndarray:
  """`x` as f64[M, N] of M >= `rows` models and N >= 1 examples; infinity is refused, and so is NaN unless `nan`."""
  values = np.asarray(x, np.float64)
  if values.ndim != 2:
    raise ValueError(f"{name} must be f[M, N] (models, examples), got shape {values.shape}")
  not_empty(name, values)
  if values.shape[0] < rows:
    raise ValueError(f"{name} needs at least {rows} models (rows), got {values.shape[0]}")
  _refuse(name, values, np.isinf(values) if nan else ~np.isfinite(values))
  return values


def _refuse(name: str, values: np.ndarray, bad: np.ndarray) -> None:
  if bad.any():
    raise ValueError(f"{name} must hold finite numbers, got {bad.sum()} such as {values[bad][0]} of {values.size}")
