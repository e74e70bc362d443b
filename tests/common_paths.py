"""Where tests find figures and data that are not part of the project."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest

_BESIDE = pathlib.Path(__file__).resolve().parents[2] / "shared"


def _directory(variable: str, name: str) -> pathlib.Path:
  return pathlib.Path(os.environ.get(variable) or _BESIDE / name)


def golden(name: str):
  """The arrays of `name`.npz from `UNLEARNJAX_GOLDEN`; skips the test where it is absent."""
  path = _directory("UNLEARNJAX_GOLDEN", "golden") / f"{name}.npz"
  if not path.exists():
    pytest.skip(f"no golden figures: {name}.npz (set UNLEARNJAX_GOLDEN to the directory that holds it)")
  return np.load(path)


def data_dir(name: str) -> pathlib.Path:
  """The directory of data set `name` under `UNLEARNJAX_DATA`; skips the test where it is absent."""
  path = _directory("UNLEARNJAX_DATA", "data") / name
  if not path.exists():
    pytest.skip(f"no data set {name!r} (set UNLEARNJAX_DATA to the directory that holds it)")
  return path
