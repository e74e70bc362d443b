"""The language benchmark on contracts, KnowUnDo and books: a run without files, and what is said where files miss."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.language import corpora
from unlearnjax.report.spec import checked

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytest.importorskip("rouge_score", reason="rouge-score is in the extra 'lm'")


def run(*flags, **variables):
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg", **variables}
  command = [sys.executable, "-m", "experiments.language.run", *flags]
  return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500)


def test_every_configuration_has_a_report_of_its_own():
  for name, config in corpora.all_configs().items():
    kind = corpora.kind_of(config)
    spec = checked(kind.spec(config))
    assert {*kind.shown} <= {column.name for column in spec.columns}, name
    json.dumps(config.describe())


@pytest.mark.slow
def test_contracts_need_no_files_and_tell_places_apart(tmp_path):
  done = run("--config=contracts_tiny", "--methods=npo", f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr[-3000:]
  rows = {row["method"]: row for row in json.loads((tmp_path / "results.json").read_text())["rows"]}
  assert list(rows) == ["original", "retrain", "npo"] and not any(row.get("error") for row in rows.values())
  assert rows["retrain"]["gap"] == 0 and rows["original"]["drop_neighbours"] == 0
  assert all(0 <= row[f"rouge_{k}"] <= 100 for row in rows.values() for k in ("forget", "neighbours", "independent"))
  assert all(0 < row[f"mrr_{k}"] <= row[f"hit_{k}"] <= 100 for row in rows.values() for k in ("forget", "retain"))
  assert rows["npo"]["nll_forget"] > rows["original"]["nll_forget"]


@pytest.mark.slow
def test_missing_files_and_unknown_edges_are_one_line(tmp_path):
  none = {"UNLEARNJAX_DATA": str(tmp_path)}
  for flags, message in (
    (
      ("--config=books",),
      "the file text/gutenberg/war_of_the_worlds.txt.gz is missing. Set UNLEARNJAX_DATA",
    ),
    (("--config=contracts_tiny", "--forget=no"), "forget must be a list of names of edges, got 'no'"),
  ):
    done = run(*flags, f"--out={tmp_path / 'out'}", **none)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr[-2000:]
