"""Every example in a docstring runs, and so does the Python in README.md and the other pages."""

from __future__ import annotations

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import unlearnjax

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [
  page for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]) if "```python" in page.read_text()
]
MODULES = sorted(
  m.name for m in pkgutil.walk_packages(unlearnjax.__path__, "unlearnjax.") if not m.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["unlearnjax", *MODULES])
def test_examples_of(name):
  module = importlib.import_module(name)
  for needed in getattr(module, "__doctest_requires__", ()):
    pytest.importorskip(needed)
  finder = doctest.DocTestFinder(exclude_empty=True)
  runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
  for test in finder.find(module, module.__name__):
    runner.run(test)
  assert not runner.failures, f"{runner.failures} examples of {name} failed; they are printed above"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_the_pages(page, capsys):
  blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
  scope: dict = {"__name__": page.stem}
  for block in blocks:  # one goes on where the one before ended
    exec(compile(block, page.name, "exec"), scope)  # noqa: S102
    lines = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^ *print\(.*\)  # (.+)$", block, re.M)
    assert [line for line in promised if line not in lines] == []
    scope["printed"] = [*scope.get("printed", ()), *lines]
  if page.name == "README.md":
    assert len(blocks) >= 3 and "gap" in "".join(scope["printed"])
    assert scope["history"].steps == scope["plan"].steps
