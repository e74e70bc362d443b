"""Spoken digits and sentences, as features of fixed width."""

from __future__ import annotations

import gzip
import json
import pathlib

import numpy as np

from unlearnjax.data import features
from unlearnjax.data.tables import Table, arrays_of, columns_of, split_rows

WIDTH = 1024
"""Columns of the features of a text."""


def read_spoken(directory: pathlib.Path, rows: int | None) -> Table:
  folder = directory / "fsdd"
  audio, offsets, digit, speaker, index = arrays_of(
    folder / "fsdd_8khz.npz", "audio", "offsets", "digit", "speaker", "index"
  )
  meta = json.loads((folder / "meta.json").read_text())
  x = np.stack([features.log_mel(audio[a:b], rate=meta["sample_rate"]) for a, b in zip(offsets[:-1], offsets[1:])])
  test = index < 5  # the published split
  x = (x - x[~test].mean()) / x[~test].std()
  labels = {"y": digit.astype(np.int32), "coarse": speaker.astype(np.int32)}
  names = {"classes": tuple(map(str, range(10))), "coarse_classes": tuple(meta["speakers"])}
  return split_rows({"x": x[..., None].astype(np.float32), **labels}, test, **names)


def _texts(path: pathlib.Path) -> tuple[list[str], list[str]]:
  """Texts and the names of their labels from lines of JSON."""
  with gzip.open(path, "rt", encoding="utf-8") as file:
    rows = [json.loads(line) for line in file if line.strip()]
  if not rows or any({"text", "label"} - set(row) for row in rows):
    raise ValueError(f"{path} must hold lines of JSON with the keys text and label")
  return [row["text"] for row in rows], [row["label"] for row in rows]


def _intents(folder: pathlib.Path, classes: tuple[str, ...] | None, **names) -> Table:
  (train, y), (test, y_test) = (_texts(folder / f"{part}.jsonl.gz") for part in ("train", "test"))
  classes = tuple(sorted(set(y))) if classes is None else classes
  strange = sorted({*y, *y_test} - set(classes))
  if strange:
    raise ValueError(f"{folder} has labels that are not among its {len(classes)} classes: {', '.join(strange[:5])}")
  label = {name: i for i, name in enumerate(classes)}
  tables = features.tf_idf(*(features.hashed_counts(texts, WIDTH) for texts in (train, test)))
  codes = [np.array([label[name] for name in part]) for part in (y, y_test)]
  groups = len(names.get("coarse_classes", ()))
  coarse = lambda code: {"coarse": code // (len(classes) // groups)} if groups else {}
  made = [columns_of(x, code, **coarse(code)) for x, code in zip(tables, codes)]
  return Table(*made, classes, **names)


def read_clinc(directory: pathlib.Path, rows: int | None) -> Table:
  domains = json.loads((directory / "clinc150" / "domains.json").read_text())
  sizes = {len(intents) for intents in domains.values()}
  if len(sizes) != 1:
    raise ValueError(f"clinc150/domains.json must hold as many intents for every domain, found {sorted(sizes)}")
  classes = tuple(intent for intents in domains.values() for intent in intents)
  return _intents(directory / "clinc150", classes, coarse_classes=tuple(domains))


def read_banking(directory: pathlib.Path, rows: int | None) -> Table:
  return _intents(directory / "banking77", None)
