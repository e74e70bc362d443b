"""Bad input to `python -m experiments.classify.run`: one clear line, no traceback, earlier results untouched."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import jobs
import numpy as np
import pytest

import unlearnjax as uj
from experiments.classify import configs, hyper, run
from unlearnjax import core, lock
from unlearnjax.data import datasets

TINY = ("--train_size=100", "--test_size=60", "--epochs=1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A directory with results of the default request."""
  out = tmp_path_factory.mktemp("finished") / "out"
  assert jobs.main(run, f"--out={out}", "--methods=fine_tune", *TINY) == 0
  return out


def fails(capsys, out, *arguments) -> str:
  """The one line of an invocation that must fail and leave `out` as it is."""
  before = jobs.contents(out) if out.exists() else None
  capsys.readouterr()
  assert jobs.main(run, f"--out={out}", *arguments) == 2
  err = capsys.readouterr().err
  lines = err.strip().splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: "), err
  assert (jobs.contents(out) if out.exists() else None) == before
  return lines[0]


BAD = {
  "unknown method": (("--methods=nope",), "unknown method 'nope'; there are fine_tune,"),
  "no method": (("--methods=,",), "--methods is empty"),
  "unknown data set": (("--dataset=nope",), "unknown data set 'nope'; there are digits,"),
  "unknown configuration": (("--config=nope",), "unknown configuration 'nope'; there are digits,"),
  "unknown model": (("--model=nope",), "must be one of mlp,"),
  "regression": (("--dataset=diabetes", "--forget=random:0.1"), "'diabetes' is for regression"),
  "class out of range": (("--forget=class:99",), "class must be in [0, 10), got 99"),
  "class that is no class": (("--forget=class:dog",), "got 'dog'"),
  "all classes": (("--forget=class:0,1,2,3,4,5,6,7,8,9",), "leave at least one class"),
  "no form of a request": (("--forget=klass:3",), "got 'klass:3'"),
  "no class": (("--forget=class:",), "got 'class:'"),
  "fraction that is no number": (("--forget=random:x",), "got 'x'"),
  "fraction too large": (("--forget=random:1",), "fraction must be in (0, 1), got 1.0"),
  "nothing to forget": (("--forget=random:0",), "fraction must be in (0, 1), got 0.0"),
  "hardest part of no size": (("--forget=worst:x",), "got 'x'"),
  "hardest part too large": (("--forget=easy:1",), "fraction must be in (0, 1), got 1.0"),
  "no ids": (("--forget=ids:,",), "ids must name at least one row"),
  "unknown ids": (("--forget=ids:123456789",), "ids that do not exist in the data: [123456789]"),
  "no file of ids": (("--forget=ids:no/such/file",), "no file 'no/such/file'"),
  "too many rows": (("--train_size=99999",), "train_size must be at most 1438"),
  "class without rows": (("--train_size=3", "--forget=class:7"), "must hold at least one row"),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_anything_is_written(capsys, tmp_path, finished, flags, message):
  assert message in fails(capsys, tmp_path / "new", *flags)
  assert not (tmp_path / "new").exists()
  assert message in fails(capsys, finished, *TINY, *flags)


def test_a_directory_of_another_configuration_is_refused(capsys, finished):
  line = fails(capsys, finished, *TINY, "--forget=class:4")
  assert "another configuration (forget: class:3 there, class:4 now)" in line and "choose another --out" in line


def test_a_directory_that_does_not_say_what_it_holds_is_refused(capsys, tmp_path, finished):
  out = shutil.copytree(finished, tmp_path / "copy")
  (out / "config.json").write_text('{"dataset": "dig')
  assert "config.json is damaged" in fails(capsys, out, *TINY)
  (out / "config.json").unlink()
  assert "no config.json" in fails(capsys, out, *TINY)


def test_an_output_directory_that_cannot_be_made_is_refused(capsys, tmp_path):
  (tmp_path / "file").write_text("mine")
  assert jobs.main(run, f"--out={tmp_path / 'file'}", *TINY) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: ") and err.count("\n") == 1 and str(tmp_path / "file") in err
  assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_that_another_job_writes_in_is_refused(capsys, finished):
  other = lock.Lock(finished, "job.lock")
  try:
    assert "is being written by process" in fails(capsys, finished, "--methods=fine_tune", *TINY)
  finally:
    other.close()
  assert jobs.main(run, f"--out={finished}", "--methods=fine_tune", *TINY) == 0


def test_data_with_nan_are_refused(capsys, tmp_path, finished, monkeypatch):
  table = datasets.EMBEDDED["digits"]()
  x = table.train["x"].astype(np.float32)
  x[7] = np.nan
  monkeypatch.setitem(datasets.EMBEDDED, "digits", lambda: table._replace(train={**table.train, "x": x}))
  for out in (tmp_path / "new", finished):
    line = fails(capsys, out, "--test_size=60", "--epochs=1")
    assert "column 'x' of the train split of 'digits' must be finite, got 64 values" in line
  assert not (tmp_path / "new").exists()


def test_a_checkpoint_of_another_model_is_refused(capsys, tmp_path, finished):
  out = shutil.copytree(finished, tmp_path / "copy")
  data = uj.data.load("digits", train_size=100, test_size=60)
  narrow = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10, widths=(16,))
  place = ("seed0", "original")
  other = uj.Run(out=tmp_path / "other").apart(*place)
  uj.train(narrow, data.train, configs.Config(epochs=1).recipe, key=jax.random.key(0), run=other)
  shutil.rmtree(out.joinpath("checkpoints", *place))
  shutil.copytree(tmp_path.joinpath("other", "checkpoints", *place), out.joinpath("checkpoints", *place))
  line = fails(capsys, out, "--methods=cf_k", *TINY)
  assert "holds another model or method" in line and str(out.joinpath("checkpoints", *place)) in line


def test_an_original_that_diverges_ends_the_job(capsys, tmp_path, monkeypatch):
  monkeypatch.setitem(configs.CONFIGS, "digits", configs.Config(learning_rate=1e30))
  assert jobs.main(run, f"--out={tmp_path / 'new'}", *TINY) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: seed0/original/train: non-finite") and err.count("\n") == 1


def test_a_method_that_diverges_is_a_failed_row_among_others(capsys, tmp_path, finished, monkeypatch):
  out = shutil.copytree(finished, tmp_path / "copy")
  monkeypatch.setitem(hyper.DIGITS, "neg_grad_plus", {"rate": 1e30, "epochs": 1})
  spoil = lambda tree: jax.tree.map(lambda x: x * jnp.nan, tree)
  nan = lambda state, refs, request, run: (state.replace(params=spoil(state.params)), refs)
  spoiled = lambda fn: uj.Verbs(core.plain_init(), core.plain_model(fn), forget=nan)
  monkeypatch.setattr(uj.methods, "ssd", lambda **_: uj.Method("ssd", spoiled))
  assert jobs.main(run, f"--out={out}", "--methods=neg_grad_plus,ssd,fine_tune", *TINY) == 0
  found = jobs.rows(out)
  assert "non-finite" in found["neg_grad_plus"]["error"]
  assert found["ssd"]["error"] == "ssd left weights that are not finite"
  assert found["fine_tune"] == jobs.rows(finished)["fine_tune"]
  assert capsys.readouterr().out.count("failed: ") == 2


def test_requests_that_contradict_themselves_are_refused():
  data = uj.data.load("digits", train_size=100, test_size=60)
  model = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10, widths=(8,)).init(jax.random.key(0))
  overlapping = uj.ForgetRequest(data.train[:10], data.train[5:], extra={"test": data.test})
  empty = overlapping._replace(forget=data.train[:0])
  for request, message in ((overlapping, "overlaps the retain set in 5 ids"), (empty, "forget set is empty")):
    with pytest.raises(ValueError, match=message):
      uj.forget(uj.methods.fine_tune(), model, request, key=jax.random.key(0))


def test_an_audit_refuses_models_of_another_width():
  data = uj.data.load("digits", train_size=100, test_size=60)
  request = uj.data.forget_class(data, 3)
  init = lambda width: uj.models.make("mlp", input_shape=data.input_shape, num_outputs=width).init(jax.random.key(0))
  ten, five, twelve = init(10), init(5), init(12)
  with pytest.raises(ValueError, match=r"logits must be \[n, classes\] with more than 9 classes, got shape \(90, 5\)"):
    uj.audit(five, request)
  with pytest.raises(ValueError, match="shape"):
    uj.audit(ten, request, reference=twelve)
  broken = ten.replace(params=jax.tree.map(lambda x: x * jnp.nan, ten.params))
  with pytest.raises(ValueError, match="logits must be finite"):
    uj.audit(broken, request)
  with pytest.raises(ValueError, match=r"extra\['test'\], got an empty set"):
    uj.audit(ten, request._replace(extra={"test": data.test[:0]}))


def test_forgetting_one_example_is_audited_without_the_loss_attack():
  data = uj.data.load("digits", train_size=100, test_size=60)
  model = uj.models.make("mlp", input_shape=data.input_shape, num_outputs=10).init(jax.random.key(0))
  found = uj.audit(model, uj.data.forget_ids(data, data.train.ids[:1]), reference=model)
  assert "MIA_loss" not in found.scores and found.scores["gap"] == 0


def test_a_damaged_row_is_made_again_with_a_message(caplog, tmp_path, finished):
  out = shutil.copytree(finished, tmp_path / "copy")
  path = out / "rows" / "fine_tune-0.json"
  for damage in (path.read_text()[:100], "[]", '{"method": "ssd", "seed": 0, "hyper": {}}'):
    path.write_text(damage)
    (out / "results.json").write_text('{"rows": [')
    caplog.clear()
    assert jobs.main(run, f"--out={out}", "--methods=fine_tune", *TINY) == 0
    assert f"ignoring the damaged row {path}" in caplog.text
    assert jobs.rows(out) == jobs.rows(finished)


def test_a_finished_directory_stays_as_it_is_and_keeps_its_rows(capsys, tmp_path, finished):
  out = shutil.copytree(finished, tmp_path / "copy")
  assert jobs.main(run, f"--out={out}", "--methods=fine_tune", *TINY) == 0
  before = jobs.contents(out)
  assert jobs.main(run, f"--out={out}", "--methods=fine_tune", *TINY) == 0
  assert jobs.contents(out) == before
  assert jobs.main(run, f"--out={out}", "--methods=cf_k", *TINY) == 0
  assert list(jobs.rows(out)) == ["original", "retrain", "cf_k", "fine_tune"]
  rows_now = {k: v for k, v in jobs.contents(out).items() if k.startswith("rows/") and "cf_k" not in k}
  assert rows_now == {k: v for k, v in before.items() if k.startswith("rows/")}


COMMAND_LINE = {
  "unknown flag": (("--nope=1",), 1, "Unknown command line flag 'nope'"),
  "no seed": (("--seeds=0",), 1, "flag --seeds=0: 0 is not a positive integer"),
  "no epoch": (("--epochs=0",), 1, "flag --epochs=0: 0 is not a positive integer"),
  "negative size": (("--train_size=-1",), 1, "flag --train_size=-1"),
  "epochs that are no number": (("--epochs=many",), 1, "flag --epochs=many"),
  "an argument without a flag": (("digits",), 2, "error: unexpected argument 'digits'"),
  "unknown method": (("--methods=nope",), 2, "error: unknown method 'nope'"),
}


@pytest.mark.parametrize(("flags", "code", "message"), COMMAND_LINE.values(), ids=COMMAND_LINE)
def test_the_real_command_line(tmp_path, flags, code, message):
  out = tmp_path / "out"
  found, said, err = jobs.finish(jobs.start("experiments.classify.run", f"--out={out}", *flags))
  assert found == code and message in err and "Traceback" not in err + said
  assert not out.exists()
