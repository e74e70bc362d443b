"""Every example in a docstring runs, and so does the Python in README.md."""

from __future__ import annotations

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import unlearnjax

ROOT = pathlib.Path(__file__).resolve().parents[1]
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
def test_python_of_the_readme(capsys):
  blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
  assert len(blocks) >= 2
  scope: dict = {}
  for block in blocks:  # the second goes on where the first ended
    exec(compile(block, "README.md", "exec"), scope)  # noqa: S102
  assert "gap" in capsys.readouterr().out and scope["history"].steps == scope["plan"].steps
