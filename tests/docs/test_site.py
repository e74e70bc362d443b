"""What the documentation says is there: names, parameters, commands, links, tables, and a site without a warning."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import types

import pytest
from printed import PAGES, ROOT, commands, split_job

import unlearnjax

PACKAGES = ["unlearnjax", *(m.name for m in pkgutil.walk_packages(unlearnjax.__path__, "unlearnjax.") if m.ispkg)]
GROUPS = ("classification", "exact", "continual", "language")
DEFINED = re.compile(r"""(?:DEFINE_\w+|add_argument)\(\s*["'](?:--)?([\w-]+)["']""")
IMPORTED = re.compile(r"(?:from|import) ((?:experiments|launch)[\w.]*)(?: import ([\w, ]+))?")


def offered(module: types.ModuleType) -> dict[str, object]:
  names = getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]
  return {name: getattr(module, name) for name in names}


@functools.cache
def public() -> dict[str, object]:
  """Functions and classes by the names under which they are documented."""
  found = {f"{p}.{name}": value for p in PACKAGES for name, value in offered(importlib.import_module(p)).items()}
  for group in GROUPS:
    package = importlib.import_module(f"unlearnjax.methods.{group}")
    for name, file in package.MODULES.items():
      found[f"{package.__name__}.{name}"] = getattr(importlib.import_module(f"{package.__name__}.{file}"), name)
  return {name: value for name, value in found.items() if inspect.isroutine(value) or inspect.isclass(value)}


def documented(value: object) -> list[str]:
  """The parameters that a docstring describes."""
  section = re.search(r"^Args:\n((?:  .*\n?|\n)+)", inspect.getdoc(value) or "", re.M)
  names = re.findall(r"^  (\S[^:\n]*):", section[1], re.M) if section else []
  return [name.strip(" *") for line in names for name in line.split(",")]


def test_every_public_name_has_a_docstring():
  def own(value):
    doc = value.__doc__ or ""
    return "" if inspect.isclass(value) and doc.startswith(f"{value.__name__}(") else doc  # what Python fills in

  assert len(public()) > 500
  assert [name for name, value in public().items() if not own(value).strip()] == []
  modules = [module for module in map(importlib.import_module, PACKAGES) if offered(module)]
  assert [module.__name__ for module in modules if not module.__doc__] == []


def test_docstrings_describe_parameters_that_exist():
  unknown, seen = {}, 0
  for name, value in public().items():
    names = documented(value)
    if names:
      target = value.__init__ if inspect.isclass(value) else value
      left = set(names) - set(inspect.signature(target).parameters)
      unknown |= {name: left} if left else {}
      seen += 1
  assert seen > 300 and unknown == {}


def flags_in(words: tuple[str, ...]) -> list[str]:
  return [word[2:].split("=")[0] for word in words if word.startswith("--") and word != "--"]


@functools.cache
def source(module: str) -> str:
  spec = importlib.util.find_spec(module)
  assert spec is not None, f"there is no module {module}"
  if spec.submodule_search_locations:
    spec = importlib.util.find_spec(f"{module}.__main__") or spec
  return pathlib.Path(spec.origin).read_text()


@functools.cache
def flags_of(module: str) -> set[str]:
  """The flags that a module or what it imports from the jobs defines."""
  known, left = set(), [module]
  while left:
    name = left.pop()
    if name in known or not _is_module(name):
      continue
    known.add(name)
    for package, names in IMPORTED.findall(source(name)):
      left += [package, *(f"{package}.{part.strip()}" for part in names.split(","))]
  return {flag for name in known for flag in DEFINED.findall(source(name))}


def _is_module(name: str) -> bool:
  try:
    return importlib.util.find_spec(name) is not None
  except ModuleNotFoundError:
    return False


def test_commands_name_modules_and_flags_that_exist():
  assert len(commands()) > 20
  unknown = []
  for page, module, words in commands():
    assert _is_module(module), f"{page} prints python -m {module}"
    for job, part in split_job(module, words):
      known = flags_of(job)
      unknown += [f"{page}: {job} --{f}" for f in flags_in(part) if not {f, f.removeprefix("no")} & known]
  assert unknown == []


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted({module for _, module, _ in commands()}))
def test_help_lists_the_flags_that_pages_print(module):
  parts = [part for _, m, words in commands() for job, part in split_job(m, words) if job == module]
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  helps = [["papers", "-h"], ["info", "-h"], ["ledger", "-h"]] if module == "unlearnjax" else [["--helpfull"]]
  done = [
    subprocess.run([sys.executable, "-m", module, *h], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    for h in helps
  ]
  text = "".join(d.stdout for d in done)
  assert "usage" in text.lower() or "flags:" in text, done[0].stderr[-2000:]
  used = sorted({flag for part in parts for flag in flags_in(part)})
  assert [flag for flag in used if not re.search(rf"--(\[no\])?{flag}\b", text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
  text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
  links = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target and target[0] != "#"]
  assert [target for target in links if not (page.parent / target.split("#")[0]).exists()] == []


def test_the_table_of_choosing_is_that_of_results():
  from experiments import choosing
  from experiments.results import replaced

  page, results = (ROOT / "docs" / "choosing.md").read_text(), (ROOT / "RESULTS.md").read_text()
  assert replaced(page, "choosing", choosing.markdown(results) + "\n") == page, "run: python -m experiments.results"
  assert len(choosing.tables(results)) == results.count("\n## Forgetting")
  with pytest.raises(ValueError, match="found none"):
    choosing.markdown("# Results")


def test_every_part_has_a_page_with_an_example():
  listed = (ROOT / "docs" / "axes" / "index.md").read_text()
  for page in (ROOT / "docs" / "axes").glob("*.md"):
    if page.stem != "index":
      blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
      assert 1 <= len(blocks) <= 2 and all(len(block.splitlines()) <= 13 for block in blocks), page
      assert hasattr(unlearnjax, page.stem) and f"({page.name})" in listed


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
  pytest.importorskip("mkdocs", reason="mkdocs is in the extra 'docs'")
  pytest.importorskip("mkdocstrings", reason="mkdocstrings is in the extra 'docs'")
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
  done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[-3000:]
  reference = (tmp_path / "site" / "reference" / "losses.html").read_text()
  assert all(f"uj.losses.{name}" in reference for name in unlearnjax.losses.__all__)
  assert "&lt;g~, g_k&gt;" in (tmp_path / "site" / "reference" / "combine.html").read_text()  # no tag of HTML
  assert "In a notebook" in (text := (tmp_path / "site" / "index.html").read_text()) and "zip_roles" in text
  assert "SalUn" in (tmp_path / "site" / "papers.html").read_text()
