"""Forget requests as text, for the command line."""

from __future__ import annotations

import pathlib
import re

import numpy as np

from unlearnjax.core.types import ForgetRequest
from unlearnjax.data.datasets import Dataset
from unlearnjax.data.splits import as_dataset, forget_class, forget_ids, forget_random, forget_range, validate

FORMS = "class:3, class:1,2, class:NAME, random:0.1, ids:1,2,3, ids:FILE or range:0:0.25 (quantiles)"
"""What `parse_forget` reads."""


def parse_forget(dataset: Dataset | str, spec: str, seed: int = 0) -> ForgetRequest:
  """Reads a request from the command line: `FORMS`.

  A file of ids is a `.npy` array or text with numbers separated by blanks, commas or new lines.

  Raises:
    ValueError: text that is none of the forms, or a request that the data set cannot honour.
    FileNotFoundError: a file of ids that is not there.

  Example:
    >>> parse_forget("digits", "class:1,2").classes
    (1, 2)
    >>> parse_forget("digits", "random:0.1", seed=1).reason
    'random 0.1 (seed 1)'
  """
  kind, _, value = spec.partition(":")
  if kind not in _PARSERS or not value.strip():
    raise ValueError(f"a forget request must look like {FORMS}; got {spec!r}")
  return validate(_PARSERS[kind](as_dataset(dataset), value.strip(), seed))


def _parse_classes(dataset: Dataset, value: str, seed: int) -> ForgetRequest:
  return forget_class(dataset, [part.strip() for part in value.split(",") if part.strip()])


def _parse_random(dataset: Dataset, value: str, seed: int) -> ForgetRequest:
  return forget_random(dataset, _number(value, "random"), seed)


def _parse_ids(dataset: Dataset, value: str, seed: int) -> ForgetRequest:
  if re.fullmatch(r"[\d,\s]+", value):
    return forget_ids(dataset, map(int, value.replace(",", " ").split()))
  path = pathlib.Path(value).expanduser()
  if not path.is_file():
    raise FileNotFoundError(f"ids must be numbers separated by commas or a file, and there is no file {value!r}")
  if path.suffix == ".npy":
    return forget_ids(dataset, np.load(path).ravel())
  tokens = path.read_text().replace(",", " ").split()
  strange = [token for token in tokens if not token.isdigit()]
  if strange:
    raise ValueError(f"the file of ids {value!r} must hold whole numbers, got {strange[0]!r}")
  return forget_ids(dataset, map(int, tokens))


def _parse_range(dataset: Dataset, value: str, seed: int) -> ForgetRequest:
  ends = value.split(":")
  if len(ends) != 2:
    raise ValueError(f"a range must be two quantiles such as range:0:0.25, got 'range:{value}'")
  return forget_range(dataset, quantile=(_number(ends[0], "range"), _number(ends[1], "range")))


_PARSERS = {"class": _parse_classes, "random": _parse_random, "ids": _parse_ids, "range": _parse_range}


def _number(text: str, kind: str) -> float:
  try:
    return float(text)
  except ValueError:
    raise ValueError(f"{kind}: expects numbers, got {text!r}; a forget request looks like {FORMS}") from None
