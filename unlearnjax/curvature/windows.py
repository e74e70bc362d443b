"""The concepts of a classifier itself, and where in an image it sees them.

`concepts.window_map` enlarges windows, for an encoder that knows things at any size. A classifier of small images does
not: here windows stay where they are, and everything around them is replaced by a mean image.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from unlearnjax.core import Model, Run, as_examples, check, outputs
from unlearnjax.core.types import Array
from unlearnjax.curvature.concepts import Concepts, concept_head, concept_margins, concept_vector

CHUNK = 16


def class_concepts(
  model: Model, source, run: Run | None = None, *, site: str = "head:in"
) -> tuple[np.ndarray, np.ndarray]:
  """One concept a class, and the sparse linear head on their margins. Host side.

  Concept c is the normal of the linear SVM of class c against the others, on the network's own features.

  Args:
    model: a classifier; runs in eval mode.
    source: examples with the column "y".
    run: its ledger counts the passes.
    site: features f[B, d].

  Returns:
    (vectors f[C, d], head W f[C, C]); the row and the column of a class without examples are 0.

  Raises:
    ValueError: examples of one class only.
  """
  found, y = outputs(model, source, run, capture=(site,), name="concepts"), as_examples(source).column("y")
  features, classes, present = found[site], found["logits"].shape[1], np.unique(y)
  if len(present) < 2:
    raise ValueError(f"concepts need examples of at least two classes, got {present.tolist()}")
  normals, intercepts = zip(*(concept_vector(features[y == c], features[y != c]) for c in present))
  margins = concept_margins(jnp.asarray(features), Concepts(jnp.stack(normals), jnp.array(intercepts)))
  vectors, head = np.zeros((classes, features.shape[1])), np.zeros((classes, classes))
  vectors[present], head[np.ix_(present, present)] = normals, concept_head(np.asarray(margins), y)
  return vectors, head


def windows_alone(image: Array, fill: Array, *, size: int, stride: int) -> Array:
  """Copies of an image of which only one window each is left.

  Args:
    image: f[H, W, channels].
    fill: f[H, W, channels], what is seen instead, e.g. the mean image.
    size: side of a window.
    stride: between windows.

  Returns:
    f[rows, columns, H, W, channels] with rows = (H - size) // stride + 1.

  Raises:
    ValueError: a window larger than the image.

  Example:
    >>> windows_alone(jnp.ones((2, 2, 1)), jnp.zeros((2, 2, 1)), size=1, stride=1)[0, 1, :, :, 0].tolist()
    [[0.0, 1.0], [0.0, 0.0]]
  """
  check.positive("stride", stride)
  height, width, _ = image.shape
  if not 0 < size <= min(height, width):
    raise ValueError(f"size must be in [1, {min(height, width)}], got {size}")

  def inside(side):
    corner = jnp.arange((side - size) // stride + 1)[:, None] * stride
    return (jnp.arange(side) >= corner) & (jnp.arange(side) < corner + size)

  seen = inside(height)[:, None, :, None] & inside(width)[None, :, None, :]
  return jnp.where(seen[..., None], image, fill)


def concept_peaks(
  model: Model,
  images: np.ndarray,
  directions: np.ndarray,
  fill: np.ndarray,
  run: Run | None = None,
  *,
  size: int,
  stride: int,
  site: str = "head:in",
) -> np.ndarray:
  """The middle of the window of each image whose features reach furthest along a direction.

  Args:
    model: runs in eval mode.
    images: f[n, H, W, channels].
    directions: f[n, d], one an image: the normal of a concept. Its intercept and length do not move the peak.
    fill: f[H, W, channels], see `windows_alone`.
    run: its ledger counts a forward pass a window.
    size: side of a window.
    stride: between windows.
    site: features f[B, d].

  Returns:
    int[n, 2], rows and columns in pixels.
  """
  run, found = run or Run(), []
  with run.cost.measure():
    for start in range(0, len(images), CHUNK):
      parts = [np.asarray(a[start : start + CHUNK], np.float32) for a in (images, directions)]
      short = CHUNK - len(parts[0])
      parts = [np.pad(a, [(0, short)] + [(0, 0)] * (a.ndim - 1)) for a in parts]
      found.append(np.asarray(_peaks(model, *parts, fill, size, stride, site))[: CHUNK - short])
  height, width = images.shape[1:3]
  windows = ((height - size) // stride + 1) * ((width - size) // stride + 1)
  run.cost.forward_evaluations += windows * len(images)
  return np.concatenate(found)


@functools.partial(jax.jit, static_argnames=("size", "stride", "site"))
def _peaks(model, images, directions, fill, size, stride, site):
  def one(image, direction):
    alone = windows_alone(image, fill, size=size, stride=stride)
    rows, columns = alone.shape[:2]
    features = model({"x": alone.reshape(rows * columns, *image.shape)}, capture=(site,)).hidden[site]
    row, column = jnp.unravel_index(jnp.argmax(features @ direction), (rows, columns))
    return jnp.stack([row, column]) * stride + size // 2

  return jax.lax.map(lambda pair: one(*pair), (images, directions))
