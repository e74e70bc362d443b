"""The language benchmark: what it writes, that it resumes, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest
from toy_language import toy_lm

import unlearnjax as uj
from experiments.language.configs import CONFIGS, method_of
from experiments.language.setting import Setting
from unlearnjax.models import save_hf

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytest.importorskip("rouge_score", reason="rouge-score is in the extra 'lm'")


def run(*flags, timeout=500):
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
  command = [sys.executable, "-m", "experiments.language.run", *flags]
  return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)


def checkpoint(directory, **sizes):
  pytest.importorskip("safetensors", reason="checkpoints need the extra 'lm'")
  config = dataclasses.replace(CONFIGS["tiny"], model="scratch")
  tokenizer = Setting(config, 0, uj.Run()).tokenizer
  full = {"vocab_size": tokenizer.vocab_size, "dim": 8, "depth": 3, "heads": 2, "context": 64, **sizes}
  save_hf(toy_lm("llama", **full), directory, tokenizer=tokenizer)
  return dataclasses.replace(config, model=str(directory))


def test_a_checkpoint_decides_the_sizes_and_how_long_answers_may_be(tmp_path):
  setting = Setting(checkpoint(tmp_path / "lm"), 0, uj.Run())
  assert (setting.config.dim, setting.config.depth, setting.config.heads) == (8, 3, 2)
  assert setting.room(60, 10) == 4 and setting.room(64, 10) == 1 and setting.room(10, 10) == 10
  method_of("rmu", setting.config, setting.tokenizer.vocab_size, 3)  # its site and width are those of the checkpoint


@pytest.mark.parametrize(
  "sizes, message",
  [
    ({"context": 8}, r"lm reads 8 tokens, but the longest question and answer has \d+$"),
    ({"vocab_size": 300}, "the tokenizer has .* tokens, the model's vocab_size is 300: they do not belong together"),
  ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_written(sizes, message, tmp_path):
  config = checkpoint(tmp_path / "lm", **sizes)
  with pytest.raises(ValueError, match=message):
    Setting(config, 0, uj.Run(out=tmp_path / "out"))
  assert not (tmp_path / "out").exists()


def test_a_share_of_everybody_is_refused():
  with pytest.raises(ValueError, match="forget=0.99 of 10 authors leaves nobody in the retain set"):
    Setting(dataclasses.replace(CONFIGS["tiny"], forget="0.99"), 0, uj.Run())


@pytest.mark.slow
def test_the_job_writes_its_table_and_goes_on_where_it_stood(tmp_path):
  done = run("--config=tiny", "--methods=npo", f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr[-3000:]
  first = json.loads((tmp_path / "results.json").read_text())
  again = run("--config=tiny", "--methods=npo,npo_lora", f"--out={tmp_path}")
  assert again.returncode == 0, again.stderr[-3000:]
  rows = json.loads((tmp_path / "results.json").read_text())["rows"]
  assert [row["method"] for row in rows] == ["original", "retrain", "npo", "npo_lora"]
  assert rows[:3] == first["rows"] and not any(row.get("error") for row in rows)
  gold, lora = rows[1], rows[3]
  assert gold["gap"] == 0 and gold["log10_p"] == 0 and lora["trained_percent"] < 50
  assert all(0 <= row[k] <= 100 for row in rows for k in ("utility", "prob_forget", "em_forget", "quantized"))
  curve = rows[2]["curve"]
  assert curve["step"] == [0, 4, 8] and rows[0]["curve"]["step"] == [0] and rows[1]["curve"]["log10_p"] == [0]
  assert curve["prob_forget"][0] == rows[0]["curve"]["prob_forget"][0] and curve["prob_forget"][-1] < 0.5
  assert abs(rows[2]["prob_forget"] - curve["prob_forget"][-1]) < 1e-2
  assert (tmp_path / "curves.png").stat().st_size > 5_000 and "During unlearning" in (
    tmp_path / "report.html"
  ).read_text()
  assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--methods=nothing",), "unknown method 'nothing'"),
    (("--config=nothing",), "unknown configuration 'nothing'"),
    (("--config=tiny", "--forget=2"), "forget must be in (0, 1), got 2.0"),
  ],
)
@pytest.mark.slow
def test_what_is_wrong_is_one_line(flags, message, tmp_path):
  done = run(*flags, f"--out={tmp_path / 'out'}")
  assert done.returncode == 2 and message in done.stderr, done.stderr[-2000:]
  assert not (tmp_path / "out" / "rows").exists()
