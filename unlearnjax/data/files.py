"""Text files below the data directory: where they are looked for, and how their lines are read."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
from typing import Any

from unlearnjax.data.readers import VARIABLE, data_directory


def text_files(title: str, names: tuple[str, ...], directory: str | os.PathLike | None = None) -> list[pathlib.Path]:
  """The files `names` below a data directory, once they are sure to be there.

  Args:
    title: of the data set, for the message.
    names: paths below the directory.
    directory: that of `UNLEARNJAX_DATA` by default.

  Raises:
    FileNotFoundError: one is missing; the message says where it was looked for.
  """
  root = pathlib.Path(directory) if directory is not None else data_directory()
  for name in names:
    if root is None or not (root / name).is_file():
      place = f"{VARIABLE}, which is not set" if root is None else str(root)
      raise FileNotFoundError(
        f"{title} was looked for in {place} and is not there: the file {name} is missing. Set {VARIABLE} to the "
        f"directory that holds {name.split('/')[0]}/"
      )
  return [root / name for name in names]


def json_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """The values of a gzipped file of one JSON object a line."""
  with gzip.open(path, "rt", encoding="utf-8") as file:
    return [json.loads(line) for line in file if line.strip()]
