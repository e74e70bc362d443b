"""`--forget=worst:0.1` and `easy:0.1`: requests that the original of the seed selects."""

from __future__ import annotations

import json

import jobs
import numpy as np
import pytest

from experiments.classify import configs, run
from experiments.classify.setting import Setting
from unlearnjax.core import Run


@pytest.mark.slow
def test_the_hardest_tenth_of_the_digits_is_selected_and_forgotten(tmp_path):
  flags = ("--train_size=200", "--test_size=60", "--epochs=4", "--methods=fine_tune", "--forget=worst:0.1")
  assert jobs.main(run, f"--out={tmp_path}", "--title=The hardest tenth", *flags) == 0
  results = json.loads((tmp_path / "results.json").read_text())
  rows = {row["method"]: row for row in results["rows"]}
  assert results["spec"]["title"] == "The hardest tenth"
  assert set(rows) == {"original", "retrain", "fine_tune"} and rows["retrain"]["UA"] < 20
  config = configs.Config(train_size=200, test_size=60, epochs=4, forget="worst:0.1")
  hard = Setting(config, tmp_path, (0,), Run(out=tmp_path)).request(0)  # what was selected is read, not made again
  easy = Setting(configs.Config(train_size=200, test_size=60, epochs=4, forget="easy:0.1"), tmp_path, (0,), Run())
  assert len(hard.forget) == len(easy.request(0).forget) == 20
  assert len(np.intersect1d(hard.ids, easy.request(0).ids)) == 0
