"""Concepts: directions in feature space, how strongly an image shows them, and where.

The locating and pasting half of concept-poisoning class unlearning (Chang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import check
from unlearnjax.core.types import Array
from unlearnjax.losses.representation import unit


class Concepts(NamedTuple):
  """A bank of K concepts: `vectors` f[K, d], `intercepts` f[K], both before division by the vectors' length."""

  vectors: Array
  intercepts: Array


def concept_vector(shown: np.ndarray, absent: np.ndarray, *, c: float = 0.1) -> tuple[np.ndarray, float]:
  """Concept activation vector: normal and intercept of a linear SVM between two sets of features. Host side.

  Kim et al., arXiv:1711.11279.

  Args:
    shown: f[n, d] features of examples that show the concept.
    absent: f[m, d] features of examples that do not.
    c: inverse regularisation of the SVM, > 0.

  Returns:
    (f[d], intercept); `shown` lies on the positive side.

  Example:
    >>> v, b = concept_vector(np.array([[1.0, 0.0], [1.0, 0.1]]), np.array([[-1.0, 0.0], [-1.0, 0.1]]))
    >>> bool(v[0] > 0 and abs(v[1]) < 0.1 * v[0])
    True
  """
  from sklearn.svm import LinearSVC

  check.positive("c", c)
  features = np.concatenate([np.asarray(shown, np.float64), np.asarray(absent, np.float64)])
  svm = LinearSVC(C=c, dual="auto", random_state=0).fit(features, np.arange(len(features)) < len(shown))
  return svm.coef_[0], float(svm.intercept_[0])


def concept_margins(features: Array, concepts: Concepts) -> Array:
  """(c_k . z + b_k) / |c_k|: signed distance of features to each concept's boundary.

  Args:
    features: f[B, d].
    concepts: the bank.

  Returns:
    f[B, K].

  Example:
    >>> bank = Concepts(jnp.array([[0.0, 2.0]]), jnp.array([1.0]))
    >>> concept_margins(jnp.array([[5.0, 1.0]]), bank).tolist()
    [[1.5]]
  """
  length = jnp.linalg.norm(concepts.vectors, axis=-1)
  return (features @ concepts.vectors.T + concepts.intercepts) / jnp.maximum(length, 1e-12)


def concept_head(
  margins: np.ndarray, labels: np.ndarray, *, strength: float = 1e-5, l1_ratio: float = 0.99, seed: int = 0
) -> np.ndarray:
  """Sparse linear classifier on concept margins (post-hoc concept bottleneck), fitted with an elastic net. Host side.

  Args:
    margins: f[n, K].
    labels: int[n] in [0, C).
    strength: of the elastic net, > 0.
    l1_ratio: share of l1 in it, in [0, 1].
    seed: of the stochastic solver.

  Returns:
    f[C, K] weights W; W[y] names the concepts of class y.
  """
  from sklearn.linear_model import SGDClassifier

  check.positive("strength", strength)
  check.fraction("l1_ratio", l1_ratio, zero=True)
  model = SGDClassifier(loss="log_loss", penalty="elasticnet", alpha=strength, l1_ratio=l1_ratio, random_state=seed)
  weights = model.fit(np.asarray(margins, np.float64), np.asarray(labels)).coef_
  return np.concatenate([-weights, weights]) if len(weights) == 1 else weights


def defining_concepts(head: Array, label: int, count: int) -> Array:
  """The `count` concepts with the largest weights in a class's row, strongest first: int[count].

  Example:
    >>> defining_concepts(jnp.array([[0.1, 0.9, 0.5]]), 0, 2).tolist()
    [1, 2]
  """
  return jax.lax.top_k(jnp.asarray(head)[label], count)[1]


def window_map(
  image: Array, concept: Array, embed: Callable[[Array], Array], *, size: int = 64, stride: int = 16
) -> Array:
  """Cosine of a concept with the embedding of every window of an image, each enlarged to the size of the image.

  Args:
    image: f[H, W, channels].
    concept: f[d].
    embed: f[n, H, W, channels] -> f[n, d].
    size: side of a window.
    stride: between windows.

  Returns:
    f[(H - size) // stride + 1, (W - size) // stride + 1] in [-1, 1].
  """
  height, width, channels = image.shape
  if size > min(height, width):
    raise ValueError(f"size must be at most the side of the image {height} x {width}, got {size}")
  rows, cols = (height - size) // stride + 1, (width - size) // stride + 1
  corners = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(cols), indexing="ij"), -1).reshape(-1, 2) * stride

  def window(corner):
    part = jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (size, size, channels))
    return jax.image.resize(part, image.shape, "bilinear")

  return (unit(embed(jax.vmap(window)(corners))) @ unit(concept)).reshape(rows, cols)


def peak_centre(heat: Array, *, size: int = 64, stride: int = 16) -> tuple[Array, Array]:
  """(row, column) in pixels of the middle of the strongest window of a `window_map`.

  Example:
    >>> [int(v) for v in peak_centre(jnp.array([[0.0, 0.0], [0.0, 1.0]]))]
    [48, 48]
  """
  row, col = jnp.unravel_index(jnp.argmax(heat), heat.shape)
  return row * stride + size // 2, col * stride + size // 2


def crop_at(image: Array, centre: tuple[Array, Array], size: int) -> Array:
  """The window f[size, size, channels] around a centre, moved inside where it would cross the border."""
  top, left = _corner(image, centre, size)
  return jax.lax.dynamic_slice(image, (top, left, 0), (size, size, image.shape[2]))


def paste_at(image: Array, patch: Array, centre: tuple[Array, Array]) -> Array:
  """The image with a square patch pasted around a centre, moved inside where it would cross the border.

  Example:
    >>> paste_at(jnp.zeros((2, 2, 1)), jnp.ones((1, 1, 1)), (0, 1))[..., 0].tolist()
    [[0.0, 1.0], [0.0, 0.0]]
  """
  if patch.shape[0] != patch.shape[1] or patch.shape[0] > min(image.shape[:2]):
    raise ValueError(f"patch must be square and fit into the image {image.shape}, got shape {patch.shape}")
  top, left = _corner(image, centre, patch.shape[0])
  return jax.lax.dynamic_update_slice(image, patch.astype(image.dtype), (top, left, 0))


def _corner(image, centre, size):
  return tuple(jnp.clip(jnp.asarray(c) - size // 2, 0, side - size) for c, side in zip(centre, image.shape[:2]))
