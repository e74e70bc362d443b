"""The names of the methods, and that asking for them imports nothing else."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

from unlearnjax import methods
from unlearnjax.core import Method


def test_every_name_is_a_factory_whose_method_carries_it():
  for name in methods.names():
    factory = getattr(methods, name)
    assert isinstance(factory, types.FunctionType) and factory.__name__ == name
    assert name in dir(methods) and name in methods._MODULES
  assert methods.fine_tune() is not methods.fine_tune() and isinstance(methods.fine_tune(), Method)


def test_a_factory_stays_a_factory_after_its_module_was_imported():
  module = importlib.import_module("unlearnjax.methods.classification.salun")
  assert methods.salun is module.salun and callable(methods.salun)
  from unlearnjax.methods import salun

  assert salun is module.salun


def test_unknown_names_list_what_there_is():
  with pytest.raises(AttributeError, match="no attribute 'sallun'; the methods are .*salun"):
    methods.sallun  # noqa: B018
  assert getattr(methods, "no_such_method", None) is None


def test_a_method_that_is_planned_is_not_listed(monkeypatch):
  monkeypatch.setitem(methods._MODULES, "tomorrow", "unlearnjax.methods.classification.tomorrow")
  assert "tomorrow" not in methods.names() and not hasattr(methods, "tomorrow")


def test_importing_the_package_imports_no_method():
  code = "import sys, unlearnjax.methods as m; assert 'salun' in m.names(); print(*sys.modules)"
  found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
  assert not [
    x for x in found if x.startswith("unlearnjax.methods.") and x.count(".") > 2 or x.split(".")[0] == "orbax"
  ]
