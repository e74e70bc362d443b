"""PISTOL's two samples, from files. Qiu et al. 2024, arXiv:2406.16810; `data.contracts` compiles new graphs."""

from __future__ import annotations

import os
import re

from unlearnjax.core import check
from unlearnjax.data.authors import QA
from unlearnjax.data.contracts import Contracts, Edge
from unlearnjax.data.files import json_lines, text_files

SAMPLES = (1, 2)
_PARTIES = re.compile(r"between (.+) and (.+)\?$")


def load_pistol(sample: int = 1, directory: str | os.PathLike | None = None) -> Contracts:
  """Reads a sample of PISTOL.

  Sample 1: 20 edges, ten of them sales and ten employment: two companies with four and three more partners each (part
  "tree"), and six contracts of three separate companies or pairs ("pairs"). Sample 2: 75 sales over thirty companies,
  in a path of 9, a block of 21 and a clique of 45 edges.

  Args:
    sample: 1 or 2.
    directory: holds `pistol/`; that of `UNLEARNJAX_DATA` by default.

  Returns:
    the questions and their edges, as `contracts` does, but without wrong answers.

  Raises:
    FileNotFoundError: the files are not there.
    ValueError: another sample.
  """
  check.one_of("sample", sample, SAMPLES)
  lines = json_lines(text_files("PISTOL", (f"pistol/sample_data_{sample}.jsonl.gz",), directory)[0])
  numbers = {name: i for i, name in enumerate(dict.fromkeys(row["edge"] for row in lines))}
  rows = [QA(row["question"], row["answer"], subject=numbers[row["edge"]]) for row in lines]
  return Contracts(rows, tuple(_edge(name, [r for r in lines if r["edge"] == name], sample) for name in numbers))


def _edge(name: str, lines: list[dict[str, str]], sample: int) -> Edge:
  text = [line["question"] for line in lines]
  parties = next(found.groups() for found in map(_PARTIES.search, text) if found)
  kind = "employment" if any("employer" in question for question in text) else "sales"
  if sample == 1:
    return Edge(name, parties, kind, "pairs" if name.startswith("E") else "tree")
  return Edge(name, parties, kind, ("path", "block", "clique")[int(name.split("_")[0]) // 10])
