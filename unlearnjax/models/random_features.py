"""Frozen random features, and a linear layer on them in place of a model's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core.tree import fold_name
from unlearnjax.core.types import EMPTY, Array, ModelFn, Outputs
from unlearnjax.models.heads import MASKED

CONSTANT = 0.1
"""The input that is always on."""


def random_encoder(
  key: Array, x: np.ndarray, *, features: int = 900, hidden: int = 700, groups: int = 10, group_size: int = 10,
  scale: float = 250.0, tweak: bool = True,
) -> dict[str, Any]:  # fmt: skip
  """Weights of a frozen map from inputs to features: drawn at random, and, with `tweak`, fitted to the inputs once.

  With b = [x, 0.1] of rows x that are standardised one by one: for each group A = minmax(b W_e), W_e = 2 N(0, 1) - 1,
  and a sparse decoder V = argmin |A V - b|^2 / 2 + 0.001 |V|_1; Z = minmax(b V^T) of all groups; H = tanh(scale
  [Z, 0.1] W_h / max), W_h orthonormal; the features are relu([Z, H] W + c), W and c uniform in (-1, 1). Without the
  tweak they are relu(b W / sqrt(d) + c). Either is brought to rows of a length of about 1. minmax maps each column to
  [0, 1]; its ends, the maximum and V are statistics of the inputs that are given here, and the same for ever after.

  Args:
    key: a typed key; all draws depend on it alone.
    x: f[n, d], the inputs that the statistics are taken of.
    features: numbers that come out.
    hidden: size of H.
    groups, group_size: of Z.
    scale: of H.
    tweak: False draws everything, and looks only at d.

  Returns:
    a dict of f32 arrays for `encode`.

  Example:
    >>> x = np.random.default_rng(0).normal(size=(8, 5))
    >>> frozen = random_encoder(jax.random.key(0), x, features=6, hidden=4, groups=2, group_size=3)
    >>> encode(jnp.asarray(x, jnp.float32), frozen).shape
    (8, 6)
  """
  draw = lambda name, *shape: np.asarray(jax.random.normal(fold_name(key, name), shape), np.float64)
  uniform = lambda name, *shape: np.asarray(jax.random.uniform(fold_name(key, name), shape, minval=-1.0), np.float64)
  b = np.asarray(_with_constant(_standardised(jnp.asarray(x, jnp.float32))), np.float64)
  frozen, width = {}, b.shape[1]
  if tweak:
    decoders = [
      sparse_decoder(minmax(b @ (2 * draw(f"encode/{i}", width, group_size) - 1))[0], b) for i in range(groups)
    ]
    decoder = np.concatenate(decoders).T
    z, low, span = minmax(b @ decoder)
    inner = np.concatenate([z, np.full((len(z), 1), CONSTANT)], 1)
    mix = _orthonormal(draw("mix", inner.shape[1], hidden))
    mix *= scale / max(np.max(inner @ mix), 1e-12)
    frozen = {"decoder": decoder, "low": low, "span": span, "mix": mix}
    width = z.shape[1] + hidden
  # the gain is of no consequence but for the units of a ridge or a learning rate
  gain = np.sqrt(3 / features) / (np.sqrt(width) if tweak else 1)
  kernel = uniform("kernel", width, features) / (1 if tweak else np.sqrt(width))
  frozen |= {"kernel": gain * kernel, "bias": gain * uniform("bias", features)}
  return {name: np.asarray(value, np.float32) for name, value in frozen.items()}


def encode(x: Array, frozen: Mapping[str, Array]) -> Array:
  """The features of rows, f32[n, features], from what `random_encoder` made."""
  b = _with_constant(_standardised(x.astype(jnp.float32)))
  if "decoder" in frozen:
    z = (b @ frozen["decoder"] - frozen["low"]) / frozen["span"]
    h = jnp.tanh(_with_constant(z) @ frozen["mix"])
    b = jnp.concatenate([z, h], 1)
  return jax.nn.relu(b @ frozen["kernel"] + frozen["bias"])


def minmax(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(columns in [0, 1], their smallest values, their ranges); columns that do not vary become 0.

  Example:
    >>> minmax(np.array([[1.0], [3.0], [2.0]]))[0].ravel().tolist()
    [0.0, 1.0, 0.5]
  """
  low, span = x.min(0), np.ptp(x, 0)
  span = np.where(span > 0, span, 1.0)
  return (x - low) / span, low, span


def sparse_decoder(a: np.ndarray, b: np.ndarray, *, weight: float = 1e-3, steps: int = 50) -> np.ndarray:
  """argmin over V of |a V - b|^2 / 2 + weight |V|_1, by so many steps of ADMM with rho = 1.

  Args:
    a: f[n, k].
    b: f[n, d].
    weight: of the absolute values.
    steps: of the iteration.

  Returns:
    f64[k, d].

  Example:
    >>> sparse_decoder(np.eye(2), np.array([[1.0], [0.0]]), weight=0.1).round(3).tolist()
    [[0.9], [0.0]]
  """
  inverse = np.linalg.inv(a.T @ a + np.eye(a.shape[1]))
  right = a.T @ b
  o = u = np.zeros_like(right)
  for _ in range(steps):
    c = inverse @ (right + o - u)
    o = np.sign(c + u) * np.maximum(np.abs(c + u) - weight, 0)
    u = u + c - o
  return o


@dataclasses.dataclass(frozen=True)
class OnFeatures:
  """A linear layer on frozen features in place of a model's own outputs; params {"net", "output": f[m, C]}.

  Reads `refs["encoder"]`; the capture "features" is what the layer sees. With a site the features are those of what the
  frozen model sends through it, else of its input "x". The model's own logits only say which classes its head lets
  compete, and are not asked with `masked=False`.
  """

  fn: ModelFn
  site: str | None = None
  masked: bool = True

  def __call__(self, params, inputs, *, refs=EMPTY, state=(), capture=(), rng=None, train=False, **rest) -> Outputs:
    del rng, train  # the model is frozen, its running statistics too
    if "encoder" not in refs:
      raise ValueError(f"this model reads refs['encoder'], its frozen features; found {sorted(refs)}")
    inner = tuple({name for name in (*capture, self.site) if name not in (None, "features")})
    out = self.fn(params["net"], inputs, refs=refs, state=state, capture=inner, **rest)
    x = inputs["x"] if self.site is None else out.hidden[self.site]
    seen = encode(x.reshape(x.shape[0], -1), refs["encoder"])
    logits = seen @ params["output"]
    if self.masked:
      logits = jnp.where(out.logits > MASKED / 2, logits, MASKED)
    hidden = {**out.hidden, "features": seen}
    return Outputs(logits, {name: hidden[name] for name in capture}, state)

  @property
  def sites(self):
    return self.fn.sites


def _standardised(x):
  std = x.std(1, keepdims=True)
  return (x - x.mean(1, keepdims=True)) / jnp.where(std > 0, std, 1.0)


def _with_constant(x):
  return jnp.concatenate([x, jnp.full((x.shape[0], 1), CONSTANT, x.dtype)], 1)


def _orthonormal(x: np.ndarray) -> np.ndarray:
  """Orthonormal columns, or rows where there are more columns than rows."""
  return np.linalg.qr(x)[0] if x.shape[0] >= x.shape[1] else np.linalg.qr(x.T)[0].T
