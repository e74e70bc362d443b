"""The catalog is whole, consistent with what exists, and readable from the command line."""

from __future__ import annotations

import configparser
import importlib.util
import json
import pathlib
import re

import pytest

from unlearnjax import catalog, info
from unlearnjax.__main__ import main

ROOT = pathlib.Path(__file__).resolve().parents[1]
EVERY = (*catalog.PAPERS, *catalog.BASELINES)
SIZES = {
  "classification": 19,
  "language": 19,
  "language_evaluation": 12,
  "generative": 13,
  "continual_core": 16,
  "continual_replay": 19,
  "continual_architecture": 26,
  "amortized_online": 25,
}


def test_every_number_occurs_once():
  assert [row.number for row in catalog.PAPERS] == list(range(1, 150))
  assert all(row.number is None for row in catalog.BASELINES)


def test_groups_have_their_papers():
  assert {group: len(catalog.select(catalog.PAPERS, group=group)) for group in catalog.GROUPS} == SIZES
  assert {row.number for row in catalog.select(catalog.PAPERS, group="classification")} == {
    *(1, 3, 9, 11, 13, 14, 15, 16, 18, 24, 28, 30, 32, 40, 44, 47, 63, 70, 95)
  }


@pytest.mark.parametrize("row", EVERY, ids=lambda row: str(row.number or row.name))
def test_row_is_complete(row):
  assert row.name.strip() == row.name != "" and row.title.strip() == row.title != ""
  assert row.parts and set(row.parts) <= set(catalog.ROOMS)
  assert row.source in catalog.SOURCES and row.group in catalog.GROUPS
  assert row.arxiv is None or re.fullmatch(r"\d{4}\.\d{4,5}", row.arxiv)
  if row.number is not None:
    assert row.author and 1990 < row.year < 2030


def test_names_and_factories_are_not_repeated():
  for values in ([row.name.lower() for row in EVERY], [name for row in EVERY[:149] for name in row.factories]):
    assert len(set(values)) == len(values)
  assert len({row.arxiv for row in EVERY if row.arxiv}) == sum(row.arxiv is not None for row in EVERY)


@pytest.mark.parametrize("row", [row for row in EVERY if row.factories], ids=lambda row: row.name)
def test_what_works_is_there_and_tested(row):
  if catalog.status(row) == "planned":
    pytest.skip("planned")
  files = [
    path for path in (ROOT / "tests").rglob("test_*.py") if path.name not in ("test_catalog.py", "test_report.py")
  ]
  tested = "\n".join(path.read_text() for path in files)
  for name in row.factories:
    word = name.rpartition(".")[2]
    assert callable(catalog.resolve(name))
    assert re.search(rf"\.{word}\b|\b{word}\(", tested), f"no test uses {name}"
  if row.experiment is not None:
    assert importlib.util.find_spec(row.experiment) is not None


def test_the_classification_experiment_runs_what_the_catalog_says():
  from experiments.classify import configs, hyper

  rows = [row for row in catalog.select(EVERY, having="works") if row.experiment == "experiments.classify.run"]
  names = ",".join(name for row in rows for name in row.factories if "." not in name)  # data.worst_case is no method
  hyper.chosen(names, configs.Config())  # raises on a method that it does not know


def test_every_method_stands_in_the_catalog():
  from unlearnjax import methods

  assert set(methods.names()) <= {name for row in EVERY for name in row.factories}


def test_status_follows_what_exists(monkeypatch):
  from unlearnjax import methods

  row = catalog.rows_of("language")(22, "NPO", "T", "A", 2024, "losses", factories="fresh_one fresh_two")
  assert catalog.status(row) == "planned"
  monkeypatch.setattr(methods, "fresh_one", lambda: None, raising=False)
  assert catalog.status(row) == "planned"
  monkeypatch.setattr(methods, "fresh_two", lambda: None, raising=False)
  assert catalog.status(row) == "works"
  assert catalog.select([row], having="works") == (row,)


def test_a_broken_module_is_an_error_not_a_plan(tmp_path, monkeypatch):
  import unlearnjax

  (tmp_path / "broken_room.py").write_text("import a_module_that_does_not_exist")
  monkeypatch.setattr(unlearnjax, "__path__", [*unlearnjax.__path__, str(tmp_path)])
  with pytest.raises(ModuleNotFoundError, match="a_module_that_does_not_exist"):
    catalog.resolve("broken_room.method")
  assert catalog.resolve("missing_room.method") is None


def test_find_by_number_name_and_factory():
  assert catalog.find("95") is catalog.find("SALUN") is catalog.find("salun")
  assert catalog.find("scrub_r").name == "SCRUB+R"
  with pytest.raises(ValueError, match="number from 1 to 149.*'150'"):
    catalog.find("150")


def test_rows_refuse_unknown_words():
  with pytest.raises(ValueError, match="group must be one of"):
    catalog.rows_of("vision")
  with pytest.raises(ValueError, match="part must be one of.*'loses'"):
    catalog.rows_of("language")(1, "x", "X", "", None, "loses")
  with pytest.raises(ValueError, match="source must be one of"):
    catalog.rows_of("language")(1, "x", "X", "", None, "losses", source="guessed")


def test_command_prints_the_table(capsys):
  assert main(["papers", "--group", "generative"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].split() == ["no", "paper", "author", "year", "group", "status", "factory"]
  assert len(lines) == 2 + 13 + 2 and lines[-1].startswith("13 papers: ")
  start = lines[0].index("author")
  assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines[2:-2])


def test_command_prints_one_paper_json_and_markdown(capsys):
  assert main(["papers", "95"]) == 0
  assert "Saliency Unlearning" in capsys.readouterr().out
  assert main(["papers", "--json"]) == 0
  rows = json.loads(capsys.readouterr().out)
  assert [row["number"] for row in rows] == list(range(1, 150)) and rows[94]["factories"] == ["salun"]
  assert main(["papers", "--baselines", "--markdown"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert {line.count("|") for line in lines if line.startswith("|")} == {10}
  assert lines[-1].startswith(f"{len(catalog.BASELINES)} baselines: ")


@pytest.mark.parametrize(
  "argv, message",
  [
    (["nope"], "invalid choice: 'nope'"),
    ([], "required: COMMAND"),
    (["papers", "--status", "done"], "status must be one of works, planned; got 'done'"),
    (["papers", "0"], "got '0'"),
    (["info", "--xml"], "unrecognized arguments: --xml"),
  ],
)
def test_bad_command_lines_get_one_line_and_code_2(argv, message, capsys):
  with pytest.raises(SystemExit) as caught:
    main(argv)
  assert caught.value.code == 2
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1


def test_help_names_the_commands(capsys):
  with pytest.raises(SystemExit) as caught:
    main(["--help"])
  assert caught.value.code == 0
  text = capsys.readouterr().out
  assert "papers" in text and "info" in text


def test_info_as_json_and_text(capsys):
  assert main(["info", "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert found["jax"] == {"supported": ">=0.10,<0.12", "met": True}
  assert found["devices"]["count"] >= 1 and found["data"]["digits"]
  assert main(["info"]) == 0
  text = capsys.readouterr().out
  assert f"jax                 {found['versions']['jax']}" in text


def test_info_survives_a_device_that_does_not_start(monkeypatch):
  import jax

  def fail():
    raise RuntimeError("no driver\nlong story")

  monkeypatch.setattr(jax, "devices", fail)
  assert info.collect()["devices"] == {"error": "no driver"}


def test_info_agrees_with_the_package_metadata():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  low, high = info.JAX_RANGE
  assert f"jax>={low},<{high}" in setup["options"]["install_requires"].split()
  declared = {
    extra: tuple(re.match(r"[\w-]+", line)[0] for line in lines.split())
    for extra, lines in setup["options.extras_require"].items()
  }
  assert declared == info.EXTRAS
