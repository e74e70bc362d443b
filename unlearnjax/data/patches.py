"""Pieces of one image pasted into another."""

from __future__ import annotations

import jax
import numpy as np

from unlearnjax.core import check
from unlearnjax.curvature.concepts import crop_at, paste_at

PLACES = ("localised", "center", "random", "full", "none")


def part(side: int, sevenths: int) -> int:
  """So many sevenths of a side, in whole pixels, at least one.

  Example:
    >>> part(224, 2), part(28, 3), part(8, 2)
    (64, 12, 2)
  """
  return max(1, round(side * sevenths / 7))


def paste_donors(
  images: np.ndarray,
  donors: np.ndarray,
  place: str,
  *,
  at: np.ndarray | None = None,
  donor_at: np.ndarray | None = None,
  rng: np.random.Generator,
) -> np.ndarray:
  """A piece of one donor into each image; patches that would cross the border are moved inside.

  Args:
    images: f[n, H, W, channels].
    donors: of the same shape.
    place: "localised", 2/7 of the side around `donor_at` to `at`; "center", 3/7 of the donor's middle to the middle;
      "random", the same to anywhere; "full", the whole donor shrunk to 5/7 in the middle; "none".
    at, donor_at: int[n, 2], rows and columns, for "localised".
    rng: draws the places of "random".

  Returns:
    f[n, H, W, channels].

  Raises:
    ValueError: an unknown place, other shapes, or "localised" without its centres.

  Example:
    >>> zeros, ones, rng = np.zeros((1, 7, 7, 1)), np.ones((1, 7, 7, 1)), np.random.default_rng(0)
    >>> [float(paste_donors(zeros, ones, place, rng=rng).sum()) for place in ("none", "center", "full")]
    [0.0, 9.0, 25.0]
  """
  check.one_of("place", place, PLACES)
  if images.ndim != 4 or images.shape != donors.shape:
    raise ValueError(f"images and donors must both be [n, H, W, channels], got {images.shape} and {donors.shape}")
  if place == "none":
    return images
  shape, middle = images.shape[1:3], np.tile(np.array(images.shape[1:3]) // 2, (len(images), 1))
  if place == "localised":
    if at is None or donor_at is None:
      raise ValueError("place='localised' needs at= and donor_at=")
    patches = _crop(donors, donor_at, part(min(shape), 2))
  elif place == "full":
    size = part(min(shape), 5)
    patches, at = jax.image.resize(donors, (len(images), size, size, images.shape[3]), "bilinear"), middle
  else:
    patches = _crop(donors, middle, part(min(shape), 3))
    at = middle if place == "center" else rng.integers(0, shape, (len(images), 2))
  return np.asarray(jax.vmap(paste_at)(images, patches, tuple(at.T)))


def _crop(images, at, size):
  return jax.vmap(crop_at, in_axes=(0, (0, 0), None))(images, tuple(at.T), size)
