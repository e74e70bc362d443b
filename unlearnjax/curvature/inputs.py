"""Second moments of what layers see, and the subspaces they span."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.tree import get_path
from unlearnjax.core.types import Array, ModelFn, Statistic


def input_covariance(
  fn: ModelFn,
  sites: Mapping[str, str],
  *,
  windows: Mapping[str, tuple[tuple[int, int], str]] | None = None,
) -> Statistic:
  """Sum of x x^T over the inputs x of some layers, uncentred, in eval mode.

  A sum, so that the statistic of D minus that of F is the statistic of D without F. Convolutions see the windows of
  their input, flattened as [window height, window width, channels] like their kernels.

  Args:
    fn: the model.
    sites: {kernel path: site of the layer's input}, e.g. {"head/kernel": "head:in"}.
    windows: {kernel path: (strides, padding)} of convolutions; ((1, 1), "SAME") where missing.

  Returns:
    a Statistic whose result is {kernel path: f32[in, in]}.
  """
  windows = dict(windows or {})

  def kernel(model, path):
    return get_path(model.params, tuple(path.split("/")))

  def init(model):
    sizes = {path: int(np.prod(kernel(model, path).shape[:-1])) for path in sites}
    return {path: jnp.zeros((size, size)) for path, size in sizes.items()}

  def update(acc, model, batch, rng):
    del rng
    capture = tuple(dict.fromkeys(sites.values()))
    hidden = fn(model.params, batch["inputs"], state=model.state, refs=model.refs, train=False, capture=capture).hidden
    found = {}
    for path, site in sites.items():
      x, shape = hidden[site].astype(jnp.float32), kernel(model, path).shape
      if len(shape) == 4:
        x = unfold(x, shape[:2], *windows.get(path, ((1, 1), "SAME")))
      x = jnp.where(batch["valid"].reshape(-1, *[1] * (x.ndim - 1)), x, 0).reshape(-1, x.shape[-1])
      found[path] = acc[path] + jnp.matmul(x.T, x, precision="highest")
    return found

  return Statistic(init, update)


def unfold(x: Array, window: tuple[int, int], strides: tuple[int, int] = (1, 1), padding: str = "SAME") -> Array:
  """The windows a convolution sees: `unfold(x, ...) @ kernel.reshape(-1, out)` is the convolution.

  Args:
    x: f[B, H, W, channels].
    window: height and width.
    strides: of the convolution.
    padding: "SAME" or "VALID".

  Returns:
    f[B, H', W', height * width * channels].

  Example:
    >>> unfold(jnp.arange(4.0).reshape(1, 2, 2, 1), (2, 2), padding="VALID").tolist()
    [[[[0.0, 1.0, 2.0, 3.0]]]]
  """
  patches = jax.lax.conv_general_dilated_patches(
    x, window, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  *places, _ = patches.shape
  patches = patches.reshape(*places, x.shape[-1], window[0] * window[1])
  return patches.swapaxes(-1, -2).reshape(*places, -1)


def subspace_basis(covariance: Array, energy: float = 0.9) -> np.ndarray:
  """Orthonormal directions that hold a share of the second moment, strongest first. Host side, in float64.

  Args:
    covariance: f[d, d], symmetric; small negative eigenvalues, as left by a subtraction, count as 0.
    energy: share of the sum of eigenvalues that the directions must reach, in (0, 1]. Projected-gradient unlearning
      uses .75 to .9.

  Returns:
    f32[d, r] with the smallest r that reaches the share; r = 0 for a zero matrix.

  Example:
    >>> np.abs(subspace_basis(np.diag([1.0, 8.0, 1.0]), 0.75)).tolist()
    [[0.0], [1.0], [0.0]]
  """
  check.fraction("energy", energy)
  covariance = np.asarray(covariance, np.float64)
  if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
    raise ValueError(f"covariance must be [d, d], got shape {covariance.shape}")
  values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
  values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
  if values.sum() == 0:
    return np.zeros((len(values), 0), np.float32)
  reached = np.cumsum(values) / values.sum()
  rank = int(np.searchsorted(reached, energy - 1e-12)) + 1
  return np.ascontiguousarray(vectors[:, : min(rank, len(values))], np.float32)
