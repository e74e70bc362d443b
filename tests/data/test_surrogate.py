from __future__ import annotations

import importlib

import numpy as np
import pytest
from common_paths import data_dir

from unlearnjax.data.datasets import load
from unlearnjax.data.surrogate import SURROGATE_IDS, surrogate

module = importlib.import_module("unlearnjax.data.surrogate")  # the package gives this name to the function


@pytest.fixture
def embedded(monkeypatch):
  """Nothing but what scikit-learn brings."""
  monkeypatch.setattr(module, "available", lambda: dict.fromkeys(module.OTHERS, "missing"))


def _roughness(x: np.ndarray) -> float:
  """Variance of neighbouring differences over twice the variance: 1 for noise, near 0 for smooth images."""
  return float(np.var(np.diff(x, axis=2)) / (2 * np.var(x)))


@pytest.mark.parametrize("kind", module.KINDS)
def test_shape_range_and_columns(kind, embedded):
  digits = load("digits")
  images = surrogate(digits, kind, size=101, seed=1)
  x = images.column("x")
  assert x.shape == (101, 8, 8, 1) and x.dtype == np.float32 and sorted(images.columns) == ["id", "x", "y"]
  assert 0 <= x.min() and x.max() <= 1 and x.std() > 0.1
  assert images.ids.min() == SURROGATE_IDS and not images.column("y").any()
  np.testing.assert_array_equal(x, surrogate(digits, kind, size=101, seed=1).column("x"))
  assert (x != surrogate(digits, kind, size=101, seed=2).column("x")).any()


def test_photographs_are_smooth_and_noise_is_not(embedded):
  digits = load("digits")
  smooth, mixed, noise = (_roughness(surrogate(digits, k, size=400).column("x")) for k in ("other", "mixed", "noise"))
  assert smooth < 0.4 < 0.9 < noise < 1.1 and smooth < mixed < noise


def test_noise_is_uniform_over_the_pixel_range(files):
  mnist = load("mnist", data_dir=files)
  low, high = mnist.value_range
  x = surrogate(mnist, "noise", size=50).column("x")
  counts, _ = np.histogram(x, bins=10, range=(low, high))
  assert counts.sum() == x.size and abs(counts / x.size - 0.1).max() < 0.01


def test_color_images_come_from_another_set(files, monkeypatch):
  monkeypatch.setenv("UNLEARNJAX_DATA", str(files))
  monkeypatch.setattr(module, "load", lambda name, train_size=None: load(name))
  cifar = load("cifar10")
  pool, smallest = module.other_images("cifar10")
  raw = load("cifar100").train.column("x")
  low, high = load("cifar100").value_range
  np.testing.assert_allclose(np.stack(pool), (raw - low) / (high - low) * 255, atol=1e-3)
  x = surrogate(cifar, "other", size=30).column("x")
  assert x.shape == (30, 32, 32, 3) and smallest < 1
  assert cifar.value_range[0] <= x.min() and x.max() <= cifar.value_range[1]


def test_every_image_comes_once_before_any_comes_twice():
  pool = [np.full((4, 4, 1), 10 * i, np.uint8) for i in range(5)]
  crops = module._crops(pool, 0.5, 12, (2, 2, 1), np.random.default_rng(0))
  seen = np.round(crops[:, 0, 0, 0] * 255 / 10).astype(int)
  assert sorted(seen[:5]) == sorted(seen[5:10]) == list(range(5))


def test_faces_stand_in_for_digits():
  data_dir("faces_olivetti")
  pool, _ = module.other_images("digits")
  assert len(pool) == 320 and pool[0].shape == (64, 64, 1)


def test_errors():
  with pytest.raises(ValueError, match="kind must be one of other, noise, mixed"):
    surrogate(load("digits"), "faces")
  with pytest.raises(ValueError, match="size must be > 0, got 0"):
    surrogate(load("digits"), "noise", size=0)
  with pytest.raises(ValueError, match="'diabetes' is not an image set"):
    surrogate(load("diabetes"), "noise")
