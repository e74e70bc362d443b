"""Out-of-distribution images that stand in for training data which nobody may keep.

SCAR, Bonato et al., ECCV 2024, arXiv:2404.12922, distils the original model on such images instead of a retain set.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unlearnjax.core import check
from unlearnjax.core.source import Examples
from unlearnjax.data.datasets import Dataset, available, load

SURROGATE_IDS = 2_000_000
"""Ids of surrogate rows start here."""

KINDS = ("other", "noise", "mixed")

OTHERS: Mapping[str, tuple[str, ...]] = {  # sets of other things than those to be classified, in order of preference
  "digits": ("olivetti",),
  "mnist": ("fashion_mnist", "olivetti"),
  "fashion_mnist": ("mnist", "olivetti"),
  "cifar10": ("cifar100",),
  "cifar100": ("cifar10",),
  "olivetti": ("fashion_mnist", "mnist"),
}


def surrogate(dataset: Dataset, kind: str = "other", size: int = 1000, seed: int = 0) -> Examples:
  """Images of the shape and scale of `dataset` that hold nothing of it: columns "x", "y" (all 0) and "id".

  "other" draws random square crops of another image set (`OTHERS`; cifar10 and cifar100 serve each other), or, where
  none is available, of the two photographs that come with scikit-learn. "noise" is uniform over the pixel range,
  "mixed" half of each. Which set "other" finds depends on what is installed.

  Args:
    dataset: images with a `value_range`.
    kind: "other", "noise" or "mixed".
    size: how many images, >= 1.
    seed: of crops and noise.

  Raises:
    ValueError: an unknown kind, a size below 1, or a data set without images.

  Example:
    >>> images = surrogate(load("digits"), "noise", size=4)
    >>> images.column("x").shape, sorted(images.columns)
    ((4, 8, 8, 1), ['id', 'x', 'y'])
  """
  check.one_of("kind", kind, KINDS)
  check.positive("size", size)
  if dataset.value_range is None or len(dataset.input_shape) != 3:
    raise ValueError(f"surrogate needs images [H, W, C] with a value_range; {dataset.name!r} is not an image set")
  rng = np.random.default_rng(seed)
  natural = {"other": size, "noise": 0, "mixed": size - size // 2}[kind]
  parts = [rng.random((size - natural, *dataset.input_shape), np.float32)]
  if natural:
    pool, smallest = other_images(dataset.name)
    parts.append(_crops(pool, smallest, natural, dataset.input_shape, rng))
  low, high = dataset.value_range
  x = np.clip(low + (high - low) * rng.permutation(np.concatenate(parts)), low, high)
  return Examples(
    {
      "x": x.astype(np.float32),
      "y": np.zeros(size, np.int32),
      "id": np.arange(SURROGATE_IDS, SURROGATE_IDS + size, dtype=np.int32),
    }
  )


def other_images(name: str) -> tuple[list[np.ndarray], float]:
  """Images uint8[H, W, C] of another set than `name`, and the smallest crop of one as a fraction of its side."""
  origins = available()
  for other in OTHERS.get(name, ()):
    if not origins[other].startswith("missing"):
      found = load(other, train_size=None if other == "olivetti" else 10_000)
      low, high = found.value_range
      pixels = (found.train.column("x") - low) / (high - low)
      return list(np.round(pixels * 255).astype(np.uint8)), 0.7
  from sklearn.datasets import load_sample_images

  return load_sample_images().images, 0.05


def _crops(
  pool: list[np.ndarray], smallest: float, size: int, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
  """Random square crops f[size, H, W, C] in [0, 1], resized to `shape`; no image comes twice before all came once."""
  from PIL import Image

  height, width, channels = shape
  turns = -(-size // len(pool))
  order = np.concatenate([rng.permutation(len(pool)) for _ in range(turns)])[:size]
  crops = np.empty((size, *shape), np.float32)
  for i, index in enumerate(order):
    image = pool[index]
    rows, columns = image.shape[:2]
    side = max(1, round(min(rows, columns) * rng.uniform(smallest, 1)))
    top, left = rng.integers(rows - side + 1), rng.integers(columns - side + 1)
    crop = image[top : top + side, left : left + side]
    picture = Image.fromarray(crop[..., 0] if crop.shape[-1] == 1 else crop).convert("L" if channels == 1 else "RGB")
    crops[i] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).reshape(shape)
  return crops / 255
