"""TOFU, the task of fictitious unlearning: 200 authors of 20 questions each. Maini et al. 2024, arXiv:2401.06121."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from unlearnjax.core import check
from unlearnjax.data.authors import QA
from unlearnjax.data.files import json_lines, text_files

SPLITS = ("forget01", "forget05", "forget10")


class Tofu(NamedTuple):
  """The questions of one split.

  Attributes:
    forget, retain: the last 1, 5 or 10 % of the authors, and all others.
    real_authors, world_facts: questions about the real world; a model from scratch must be taught them.
    refusals: 100 answers that give nothing away.
  """

  forget: list[QA]
  retain: list[QA]
  real_authors: list[QA]
  world_facts: list[QA]
  refusals: list[str]


def load_tofu(split: str = "forget10", directory: str | os.PathLike | None = None) -> Tofu:
  """Reads TOFU from files.

  Paraphrases and wrong answers are given for the forget set and for 400 questions of the retain set; the other
  questions have none.

  Args:
    split: "forget01", "forget05" or "forget10".
    directory: holds `tofu/`; that of `UNLEARNJAX_DATA` by default.

  Raises:
    FileNotFoundError: the files are not there.
    ValueError: an unknown split.
  """
  check.one_of("split", split, SPLITS)
  names = ("splits.json", "full.jsonl.gz", f"{split}_perturbed.jsonl.gz", "retain_perturbed.jsonl.gz")
  folder = text_files("TOFU", tuple(f"tofu/{name}" for name in (*names, "idontknow.txt.gz")), directory)[0].parent
  ranges = json.loads((folder / "splits.json").read_text())
  first, last = ranges[split]
  full = json_lines(folder / "full.jsonl.gz")
  perturbed: dict[int, Mapping[str, Any]] = {}
  for name in (split, "retain"):
    perturbed |= {row["index"]: row for row in json_lines(folder / f"{name}_perturbed.jsonl.gz")}
  rows = [_row(row, perturbed.get(row["index"]), row["author"]) for row in full]
  with gzip.open(folder / "idontknow.txt.gz", "rt", encoding="utf-8") as file:
    refusals = [line.strip() for line in file if line.strip()]
  known = lambda name: [_row(row, row, i) for i, row in enumerate(json_lines(folder / f"{name}_perturbed.jsonl.gz"))]
  rest = rows[:first] + rows[last:]
  return Tofu(rows[first:last], rest, known("real_authors"), known("world_facts"), refusals)


def _row(row: Mapping[str, Any], perturbed: Mapping[str, Any] | None, subject: int) -> QA:
  perturbed = perturbed or {}
  wrong = tuple(perturbed.get("perturbed_answer", ()))
  return QA(row["question"], row["answer"], perturbed.get("paraphrased_answer", ""), wrong, subject)
