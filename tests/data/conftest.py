"""A data directory with small files in the published layouts, made of random numbers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pathlib

import numpy as np
import pytest

from unlearnjax.data import readers

STRIP, SHARD = 5, 20


@pytest.fixture(scope="session")
def pixels() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {
    "gray": rng.integers(0, 256, (60, 28, 28), np.uint8),
    "gray_test": rng.integers(0, 256, (20, 28, 28), np.uint8),
    "rgb": rng.integers(0, 256, (2, SHARD, 32, 32, 3), np.uint8),
    "rgb_test": rng.integers(0, 256, (10, 32, 32, 3), np.uint8),
  }


@pytest.fixture
def files(published, monkeypatch) -> pathlib.Path:
  monkeypatch.setattr(readers, "SHARD", SHARD)
  return published


@pytest.fixture(scope="session")
def published(tmp_path_factory, pixels) -> pathlib.Path:
  root = tmp_path_factory.mktemp("published")
  for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "tabular"):
    (root / name).mkdir()
  for name in ("mnist", "fashion_mnist"):
    labels = {"y_train": np.arange(60) % 10, "y_test": np.arange(20) % 10}
    np.savez(root / name / f"{name}.npz", x_train=pixels["gray"], x_test=pixels["gray_test"], **labels)
  (root / "fashion_mnist" / "classes.json").write_text(json.dumps([f"garment {i}" for i in range(10)]))
  for name, test in (("cifar10", "test"), ("cifar100", "test_0")):
    meta = {"classes": ["cat", "dog", "oak", "elm"]} | (
      {"superclasses": ["animal", "tree"]} if name[5:] == "100" else {}
    )
    (root / name / "meta.json").write_text(json.dumps(meta))
    for shard, images in enumerate(pixels["rgb"]):
      _write_strips(root / name / f"train_{shard}.npz", images)
    _write_strips(root / name / f"{test}.npz", pixels["rgb_test"])
  _write_csv(root / "tabular" / "bike_sharing_hour.csv.gz", (*readers.BIKE_COLUMNS, "cnt"), blank=None)
  housing = (*readers.HOUSING_COLUMNS, "latitude", "longitude", "median_house_value")
  _write_csv(root / "tabular" / "california_housing.csv.gz", housing, blank="total_bedrooms")
  (root / "fsdd").mkdir()
  rng, lengths = np.random.default_rng(1), np.tile([1100, 2000, 3000, 900], 10)
  number = np.arange(40)  # two speakers, two digits, ten takes each
  arrays = {"digit": number % 2, "speaker": number // 20, "index": number % 20 // 2}
  audio = [rng.normal(size=n) * 3000 * (1 + d) for n, d in zip(lengths, arrays["digit"])]
  arrays |= {"audio": np.concatenate(audio).astype(np.int16), "offsets": np.concatenate([[0], np.cumsum(lengths)])}
  np.savez(root / "fsdd" / "fsdd_8khz.npz", **arrays)
  (root / "fsdd" / "meta.json").write_text(json.dumps({"speakers": ["ann", "bob"], "sample_rate": 8000}))
  domains = {"travel": ["book", "pack"], "bank": ["pay", "save"]}
  for name in ("clinc150", "banking77"):
    (root / name).mkdir()
    for part, count in (("train", 24), ("test", 8)):
      lines = [
        (f"please {intent} it, take {i}", intent) for i in range(count // 4) for intent in sum(domains.values(), [])
      ]
      with gzip.open(root / name / f"{part}.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in lines)
  (root / "clinc150" / "domains.json").write_text(json.dumps(domains))
  return root


def _write_strips(path: pathlib.Path, images: np.ndarray) -> None:
  from PIL import Image

  blobs = []
  for strip in images.reshape(-1, STRIP * 32, 32, 3):
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "WEBP", lossless=True)
    blobs.append(np.frombuffer(buffer.getvalue(), np.uint8))
  label = np.arange(len(images)) % 4
  offsets = np.cumsum([0, *map(len, blobs)])
  np.savez(path, webp=np.concatenate(blobs), offsets=offsets, label=label, coarse_label=label // 2)


def _write_csv(path: pathlib.Path, names: tuple[str, ...], blank: str | None) -> None:
  rows = np.random.default_rng(1).uniform(1, 9, (50, len(names))).round(3)
  with gzip.open(path, "wt", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(names)
    for i, row in enumerate(rows):
      writer.writerow(["" if i % 7 == 0 and name == blank else value for name, value in zip(names, row)])
