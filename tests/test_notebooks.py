"""Every notebook runs from start to end, prints no warning, and is the one that its source makes."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "colab").glob("[0-9]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_it_runs_without_a_warning(source, tmp_path):
  env = {**os.environ, "UNLEARNJAX_FAST": "1", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  env.pop("XLA_FLAGS", None)
  # figures are shown nowhere: the only warning that a notebook would not print
  command = [sys.executable, "-W", "default", "-W", "ignore:FigureCanvasAgg", str(source)]
  done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[-3000:]
  assert "Warning" not in done.stderr, done.stderr[-3000:]


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_it_says_what_it_shows_how_long_it_takes_and_what_to_change(source):
  top = source.read_text().split("# %%")[1]
  assert re.search(r"^# # \w", top, re.M)
  assert all(f"**{part}**" in top for part in ("What it shows", "Run time", "What to change"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_the_notebook_is_made_from_its_source(source):
  jupytext = pytest.importorskip("jupytext", reason="jupytext is in the extra 'docs'")
  cells = lambda notebook: [(c.cell_type, c.source) for c in notebook.cells]
  path = source.with_suffix(".ipynb")
  assert path.exists(), f"run: jupytext --to ipynb colab/{source.name}"
  assert cells(jupytext.read(path)) == cells(jupytext.read(source)), f"run: jupytext --to ipynb colab/{source.name}"
